package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

// Problem is one thing that is wrong with the NATS servers or the streams of a
// deployment.
type Problem struct {
	Kind   Kind   `json:"problem"`
	Stream string `json:"stream,omitempty"` // the stream's name, "" if it is about no single one
	Text   string `json:"text"`             // what is wrong, and what helps
	Stops  bool   `json:"stops"`            // something does not work until it is mended

	cause error // what the server said, nil for nothing
}

// Kind names what is wrong.
type Kind string

// The kinds of problems.
const (
	NotConnected      Kind = "not_connected"      // there is no connection to a NATS server
	NoAnswer          Kind = "no_answer"          // the NATS server is connected and answers nothing
	JetStreamDisabled Kind = "jetstream_disabled" // NATS answers, JetStream does not
	NoLeader          Kind = "no_leader"          // of JetStream or of a stream
	StreamMissing     Kind = "stream_missing"
	StreamFull        Kind = "stream_full" // or nearly so
	ReplicaAway       Kind = "replica_away"
	StreamUnreadable  Kind = "stream_unreadable" // for another reason
)

// Kinds returns all kinds, worst first.
func Kinds() []Kind {
	return []Kind{
		NotConnected, NoAnswer, JetStreamDisabled, NoLeader, StreamMissing, StreamUnreadable, StreamFull, ReplicaAway,
	}
}

// Error returns the text.
func (p Problem) Error() string { return p.Text }

// Unwrap returns what the server said, or nil.
func (p Problem) Unwrap() error { return p.cause }

// Sentence returns the text with a capital letter and a full stop.
func (p Problem) Sentence() string { return strings.ToUpper(p.Text[:1]) + p.Text[1:] + "." }

// Ambiguous reports whether err leaves open what is wrong: the same comes of a server
// that is away, of one that has disabled JetStream, of a stream that is missing and of
// one without a leader.
func Ambiguous(err error) bool {
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
	verdict := jsapi.Classify(err)
	return verdict == jsapi.Leaderless || verdict == jsapi.Offline
}

// ExplainRoom returns err with what helps before it, if it says that the server has no
// room for a stream.
func ExplainRoom(subjects wire.Subjects, want jetstream.StreamConfig, err error) error {
	if jsapi.Classify(err) != jsapi.NoRoom {
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
func Explain(ctx context.Context, nc *nats.Conn, prefix string, err error, opts ...Option) error {
	if !Ambiguous(err) {
		return err
	}
	problems, failed := Run(ctx, nc, prefix, opts...)
	if failed != nil {
		return err
	}
	if p := About(problems, err); p != nil {
		return fmt.Errorf("%w: %w", *p, err)
	}
	return err
}

// About returns the problem that explains err best, nil for none: one of the stream that
// err names, or the worst one.
func About(problems []Problem, err error) *Problem {
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
