package jsapi

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Verdict is what an error of a request to the server means for whoever made it.
type Verdict int

// The verdicts. Nothing is done of a request, unless its outcome is unknown.
const (
	Undecided    Verdict = iota // the server has not answered: the request may be done or not
	Refused                     // the newest message on a subject is not the one expected
	Full                        // the stream has reached its limit, and has room again later
	NoRoom                      // the server has no room for the stream
	Leaderless                  // JetStream or the stream has no leader
	Offline                     // every server that has the stream is away
	UnknownBatch                // the batch of fast ingest is not open
	FastDisabled                // the stream takes no batches of fast ingest, and has ended those that were open
	Denied                      // the server does not let this client in; the request may be done or not
	Final                       // the request is at fault: the answer stays the same
	Passing                     // another try may do better
)

// The codes of errors of the server that nats.go has no names for.
const (
	codeNoLeader            jetstream.ErrorCode = 10008 // of JetStream, or of a stream
	codeInsufficientMemory  jetstream.ErrorCode = 10028
	codeInsufficientStorage jetstream.ErrorCode = 10047
	codeStoreFailed         jetstream.ErrorCode = 10077
	codeOffline             jetstream.ErrorCode = 10118 // every server that has the stream
	codeFastDisabled        jetstream.ErrorCode = 10205
	codeUnknownBatch        jetstream.ErrorCode = 10208
)

const clientError = 400 // the status of an answer to a request that is at fault

// IsOpen reports whether the outcome of the request is unknown.
func (v Verdict) IsOpen() bool { return v == Undecided || v == Denied }

// IsFinal reports whether the same request meets the same error each time.
func (v Verdict) IsFinal() bool {
	return v == Final || v == Denied || v == UnknownBatch || v == FastDisabled
}

// Classify returns what err means. It is the one place in which workers and the commands
// for their streams decide that.
func Classify(err error) Verdict {
	api, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case denied(err):
		return Denied
	case !ok:
		return Undecided
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return Refused
	case codeStoreFailed:
		return Full
	case codeInsufficientMemory, codeInsufficientStorage:
		return NoRoom
	case codeNoLeader:
		return Leaderless
	case codeOffline:
		return Offline
	case codeUnknownBatch:
		return UnknownBatch
	case codeFastDisabled:
		return FastDisabled
	default:
		if api.Code == clientError {
			return Final
		}
		return Passing
	}
}

// denied reports whether the server does not let this client in, however often it tries.
func denied(err error) bool {
	for _, final := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
		nats.ErrNkeysNotSupported, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// ExplainFull returns err with what helps before it, if it says that the deliveries stream
// is full.
func ExplainFull(deliveries string, err error) error {
	if Classify(err) != Full || !strings.Contains(err.Error(), "maximum bytes") {
		return err
	}
	return fmt.Errorf("stream %s is full: it has room again when deliveries are older than streams.deliveries.max_age; raise streams.deliveries.max_bytes if that is too late: %w",
		deliveries, err)
}
