// Package follow reads streams from a sequence on, in order and without a gap.
package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	apiTimeout      = 5 * time.Second
	heartbeat       = 2 * time.Second
	expiry          = 20 * time.Second
	inactive        = 30 * time.Second // after which the server deletes the consumer of a reader that is gone
	firstPause      = 100 * time.Millisecond
	longestPause    = 2 * time.Second
	readAhead       = 500
	consumerPurpose = "router-worker follows"
)

var errGap = errors.New("messages are missing between two that arrived")

// Reader follows the messages of a stream through a consumer with one filter,
// which needs no acknowledgement; whatever breaks its sequence, it makes another
// one that goes on after the last message.
type Reader struct {
	js     jetstream.JetStream
	stream string
	filter string
	next   uint64 // sequence of the stream
}

// FromOldest returns a Reader of all messages that are stored and will be, whose
// subject matches filter.
func FromOldest(js jetstream.JetStream, stream, filter string) *Reader {
	return &Reader{js: js, stream: stream, filter: filter, next: 1}
}

// FromNow returns a Reader of the messages that are stored from now on, or the
// error of looking up where the stream stands.
func FromNow(ctx context.Context, js jetstream.JetStream, stream, filter string) (*Reader, error) {
	r := &Reader{js: js, stream: stream, filter: filter}
	last, err := r.last(ctx)
	r.next = last + 1
	return r, err
}

// Run calls each with the messages, in order, until ctx ends, then returns nil, or
// each returns an error, then returns that. While the server is away it waits; it
// gives up where the stream is missing.
func (r *Reader) Run(ctx context.Context, each func(jetstream.Msg) error) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		from := r.next
		err := r.session(ctx, each)
		if final(ctx, err) {
			return cause(err)
		}
		if r.next > from {
			retry.Reset()
		}
		pause(ctx, retry.NextBackOff())
	}
	return nil
}

// final reports whether another session would be of no use.
func final(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (errors.As(err, new(*endedError)) || errors.Is(err, jetstream.ErrStreamNotFound))
}

// cause returns the caller's error as it was.
func cause(err error) error {
	if ended, ok := errors.AsType[*endedError](err); ok {
		return ended.error
	}
	return err
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// endedError is the error that the caller's function returned.
type endedError struct{ error }

// session reads through one consumer until that breaks or ctx ends.
func (r *Reader) session(ctx context.Context, each func(jetstream.Msg) error) error {
	last, err := r.last(ctx)
	if err != nil {
		return err
	}
	if last+1 < r.next { // another stream of the same name
		r.next = 1
	}
	consumer, err := r.consumer(ctx)
	if err != nil {
		return err
	}
	defer r.delete(ctx, consumer)
	return r.consume(ctx, consumer, each)
}

func (r *Reader) last(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := r.js.Stream(ctx, r.stream)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", r.stream, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

func (r *Reader) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	consumer, err := r.js.CreateConsumer(ctx, r.stream, jetstream.ConsumerConfig{
		Description:       consumerPurpose,
		FilterSubject:     r.filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactive,
	})
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	return consumer, nil
}

// delete spares the server the wait for the inactivity threshold.
func (r *Reader) delete(ctx context.Context, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.stream, consumer.CachedInfo().Name)
}

func (r *Reader) consume(ctx context.Context, consumer jetstream.Consumer, each func(jetstream.Msg) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	delivered := uint64(0)
	consuming, err := consumer.Consume(
		func(m jetstream.Msg) {
			if ctx.Err() != nil {
				return
			}
			delivered++
			if err := r.receive(m, delivered, each); err != nil {
				end(err)
			}
		},
		jetstream.PullMaxMessages(readAhead),
		jetstream.PullHeartbeat(heartbeat),
		jetstream.PullExpiry(expiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { end(err) }),
	)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	// Asked for before the end: afterwards it would not wait for a handler that runs.
	closed := consuming.Closed()
	<-ctx.Done()
	consuming.Stop()
	<-closed // no handler runs any more
	return fmt.Errorf("read stream %s: %w", r.stream, context.Cause(ctx))
}

// receive takes one message over. It runs in the subscription's goroutine.
func (r *Reader) receive(m jetstream.Msg, delivered uint64, each func(jetstream.Msg) error) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	if meta.Sequence.Consumer != delivered {
		return errGap
	}
	if err := each(m); err != nil {
		return &endedError{err}
	}
	r.next = meta.Sequence.Stream + 1
	return nil
}
