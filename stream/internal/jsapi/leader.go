package jsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Leader reads single messages from the leader of a stream. A direct get may be
// answered by a replica that lags, and what a commit came to must not be judged
// by an old answer.
type Leader struct {
	NC     *nats.Conn
	Stream string
}

// MessageRequest is the body of a message get (NATS ADR-43).
type MessageRequest struct {
	Sequence    uint64     `json:"seq,omitempty"`
	LastSubject string     `json:"last_by_subj,omitempty"`
	NextSubject string     `json:"next_by_subj,omitempty"`
	StartTime   *time.Time `json:"start_time,omitempty"`
}

// Message is a message as the server keeps it.
type Message struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
	Headers  []byte    `json:"hdrs"` // as they are on the wire
}

// Get returns the message that request asks for, or an error that is
// jetstream.ErrMsgNotFound, jetstream.ErrStreamNotFound or one of the connection.
func (l Leader) Get(ctx context.Context, request MessageRequest) (Message, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return Message{}, fmt.Errorf("encode message get: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	reply, err := l.NC.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.Stream, body)
	if err != nil {
		return Message{}, fmt.Errorf("read stream %s: %w", l.Stream, NoJetStream(err))
	}
	var answer struct {
		Message *Message            `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Message{}, fmt.Errorf("read stream %s: decode the answer: %w", l.Stream, err)
	}
	if answer.Error != nil {
		return Message{}, fmt.Errorf("read stream %s: %w", l.Stream, answer.Error)
	}
	if answer.Message == nil {
		return Message{}, fmt.Errorf("read stream %s: the answer holds no message", l.Stream)
	}
	return *answer.Message, nil
}

// Timeout bounds one request to the JetStream API.
const Timeout = 5 * time.Second

// NoJetStream says what it means that nobody answers the JetStream API.
func NoJetStream(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", jetstream.ErrJetStreamNotEnabled, err)
	}
	return err
}

// ErrNoStream says what it means that nobody answers a direct get.
var ErrNoStream = errors.New("the stream is missing or has no leader")

func noStream(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	return err
}
