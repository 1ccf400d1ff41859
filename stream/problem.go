package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// Problem is one thing that is wrong with the NATS servers or the streams of a
// deployment.
type Problem struct {
	Kind   ProblemKind `json:"problem"`
	Stream string      `json:"stream,omitempty"` // the stream's name, "" if it is about no single one
	Text   string      `json:"text"`             // what is wrong, and what helps
	Stops  bool        `json:"stops"`            // something does not work until it is mended

	cause error // what the server said, nil for nothing
}

// ProblemKind names what is wrong.
type ProblemKind string

// The kinds of problems.
const (
	NotConnected      ProblemKind = "not_connected"      // there is no connection to a NATS server
	NoAnswer          ProblemKind = "no_answer"          // the NATS server is connected and answers nothing
	JetStreamDisabled ProblemKind = "jetstream_disabled" // NATS answers, JetStream does not
	NoLeader          ProblemKind = "no_leader"          // of JetStream or of a stream
	StreamMissing     ProblemKind = "stream_missing"
	StreamFull        ProblemKind = "stream_full" // or nearly so
	ReplicaAway       ProblemKind = "replica_away"
	StreamUnreadable  ProblemKind = "stream_unreadable" // for another reason
)

// ProblemKinds returns all kinds, worst first.
func ProblemKinds() []ProblemKind {
	return []ProblemKind{
		NotConnected, NoAnswer, JetStreamDisabled, NoLeader, StreamMissing, StreamUnreadable, StreamFull, ReplicaAway,
	}
}

// Error returns the text.
func (p Problem) Error() string { return p.Text }

// Unwrap returns what the server said, or nil.
func (p Problem) Unwrap() error { return p.cause }

// sentence returns the text with a capital letter and a full stop.
func (p Problem) sentence() string { return strings.ToUpper(p.Text[:1]) + p.Text[1:] + "." }

// The codes of errors of the server that nats.go has no names for.
const (
	codeNoLeader            jetstream.ErrorCode = 10008 // of JetStream, or of a stream
	codeInsufficientStorage jetstream.ErrorCode = 10047
	codeInsufficientMemory  jetstream.ErrorCode = 10028
	codeStoreFailed         jetstream.ErrorCode = 10077
	codeOffline             jetstream.ErrorCode = 10118 // every server that has the stream
)

// ambiguous reports whether err leaves open what is wrong: the same comes of a server
// that is away, of one that has disabled JetStream, of a stream that is missing and of
// one without a leader.
func ambiguous(err error) bool {
	for _, one := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, jetstream.ErrNoStreamResponse, jetstream.ErrNoHeartbeat,
		jetstream.ErrStreamNotFound, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount,
		nats.ErrReconnectBufExceeded, jetstream.ErrConsumerDeleted,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	if q, ok := errors.AsType[*wire.QueryError](err); ok && q.Code == wire.CodeUnavailable { // in whatever way the worker ended up there
		return true
	}
	return hasCode(err, codeNoLeader) || hasCode(err, codeOffline)
}

// explainFull returns err with what helps before it, if it says that the deliveries stream
// is full.
func explainFull(subjects wire.Subjects, err error) error {
	if !full(err) || !strings.Contains(err.Error(), "maximum bytes") {
		return err
	}
	return fmt.Errorf("stream %s is full: it has room again when deliveries are older than streams.deliveries.max_age; raise streams.deliveries.max_bytes if that is too late: %w",
		subjects.DeliveriesStream(), err)
}

// explainRoom returns err with what helps before it, if it says that the server has no
// room for a stream.
func explainRoom(subjects wire.Subjects, want jetstream.StreamConfig, err error) error {
	if !hasCode(err, codeInsufficientStorage) && !hasCode(err, codeInsufficientMemory) {
		return err
	}
	limit, lower := "max_file_store", ""
	if want.Storage == jetstream.MemoryStorage {
		limit = "max_memory_store"
	}
	if want.MaxBytes > 0 {
		settings := map[string]string{
			subjects.UpdatesStream(): "updates", subjects.DeliveriesStream(): "deliveries", subjects.DeadStream(): "dead", subjects.StateStream(): "state",
		}
		lower = fmt.Sprintf("lower streams.%s.max_bytes (%s), or ", settings[want.Name], bytesText(want.MaxBytes))
	}
	return fmt.Errorf("the server reserves max_bytes of every stream and has less room than that: %sraise %s of the server or the limit of the account: %w", lower, limit, err)
}

// Explain returns err with what is wrong before it, as Diagnose finds it out, if err
// itself leaves that open. Else it returns err.
func Explain(ctx context.Context, nc *nats.Conn, prefix string, err error, opts ...DiagnosisOption) error {
	if !ambiguous(err) {
		return err
	}
	problems, failed := Diagnose(ctx, nc, prefix, opts...)
	if failed != nil {
		return err
	}
	if p := about(problems, err); p != nil {
		return fmt.Errorf("%w: %w", *p, err)
	}
	return err
}

// about returns the problem that explains err best, nil for none: one of the stream that
// err names, or the worst one.
func about(problems []Problem, err error) *Problem {
	var worst *Problem
	for i, p := range problems {
		switch {
		case !p.Stops, p.Kind == StreamUnreadable: // That says no more than err.
		case p.Stream != "" && strings.Contains(err.Error(), p.Stream):
			return &problems[i]
		case worst == nil:
			worst = &problems[i]
		}
	}
	return worst
}
