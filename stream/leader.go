package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// leader reads single messages from the leader of a stream. A direct get may be
// answered by a replica that lags, and what a commit came to must not be judged
// by an old answer.
type leader struct {
	nc     *nats.Conn
	stream string
}

// getRequest is the body of a message get (NATS ADR-43).
type getRequest struct {
	Sequence    uint64     `json:"seq,omitempty"`
	LastSubject string     `json:"last_by_subj,omitempty"`
	NextSubject string     `json:"next_by_subj,omitempty"`
	StartTime   *time.Time `json:"start_time,omitempty"`
}

// stored is a message as the server keeps it.
type stored struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
	Headers  []byte    `json:"hdrs"` // as they are on the wire
}

// get returns the message that request asks for, or an error that is
// jetstream.ErrMsgNotFound, jetstream.ErrStreamNotFound or one of the connection.
func (l leader) get(ctx context.Context, request getRequest) (stored, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return stored{}, fmt.Errorf("encode message get: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	reply, err := l.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.stream, body)
	if err != nil {
		return stored{}, fmt.Errorf("read stream %s: %w", l.stream, noJetStream(err))
	}
	var answer struct {
		Message *stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return stored{}, fmt.Errorf("read stream %s: decode the answer: %w", l.stream, err)
	}
	if answer.Error != nil {
		return stored{}, fmt.Errorf("read stream %s: %w", l.stream, answer.Error)
	}
	if answer.Message == nil {
		return stored{}, fmt.Errorf("read stream %s: the answer holds no message", l.stream)
	}
	return *answer.Message, nil
}

// apiTimeout bounds one request to the JetStream API.
const apiTimeout = 5 * time.Second

// noJetStream says what it means that nobody answers the JetStream API.
func noJetStream(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", jetstream.ErrJetStreamNotEnabled, err)
	}
	return err
}

// errNoStream says what it means that nobody answers a direct get.
var errNoStream = errors.New("the stream is missing or has no leader")

func noStream(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", errNoStream, err)
	}
	return err
}
