package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// beginning is where a session begins to read, and where the stream ended then.
type beginning struct {
	at  jetstream.ConsumerConfig // its start alone
	end Position
}

// begin compares the position with the stream as it is, and yields an error about
// what may be missing between them.
func (r *reading) begin(ctx context.Context) (beginning, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	name := r.client.subjects.DeliveriesStream()
	stream, err := r.client.js.Stream(ctx, name)
	if err != nil {
		return beginning{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	b := beginning{end: endOf(info)}
	isSame, err := r.isSame(ctx, stream)
	if err != nil {
		return beginning{}, err
	}
	b.at = startAfter(r.after, isSame)
	expired, err := r.hasExpired(ctx, stream)
	if err != nil {
		return beginning{}, err
	}
	if expired && !r.yield(Delivery{Position: r.after}, &ExpiredError{After: r.after, MaxAge: info.Config.MaxAge}) {
		return beginning{}, errStopped
	}
	return b, nil
}

// startAfter returns the start of a consumer behind p, which is by time where the
// stream is not the one of p.
func startAfter(p Position, isSame bool) jetstream.ConsumerConfig {
	if isSame {
		return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: p.Sequence + 1}
	}
	next := p.Time.Add(time.Nanosecond)
	return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &next}
}

// isSame reports whether the sequence of the position means the same message in the
// stream as it is. A message that expired is taken for the same.
func (r *reading) isSame(ctx context.Context, stream jetstream.Stream) (bool, error) {
	info := stream.CachedInfo()
	switch {
	case r.after.IsZero():
		return true, nil
	case !info.Created.Equal(r.after.Created) || info.State.LastSeq < r.after.Sequence:
		return false, nil
	case r.after.fresh, r.after.Sequence == 0: // looked up a moment ago, or no message to look at
		r.after.fresh = false
		return true, nil
	case r.client.consumerName != "":
		next, err := r.next(ctx)
		return next > r.after.Sequence, err
	}
	m, err := stream.GetMsg(ctx, r.after.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read message %d of stream %s: %w", r.after.Sequence, info.Config.Name, err)
	}
	return m.Time.Equal(r.after.Time), nil
}

// hasExpired reports whether deliveries behind the position may have expired unread.
// None has where the message behind it is still there: it is the oldest of them.
func (r *reading) hasExpired(ctx context.Context, stream jetstream.Stream) (bool, error) {
	info := stream.CachedInfo()
	maxAge := info.Config.MaxAge
	nothingSince := info.State.LastSeq <= r.after.Sequence
	if r.after.IsZero() || maxAge == 0 || nothingSince || info.TimeStamp.Sub(r.after.Time) <= maxAge {
		return false, nil
	}
	if r.client.consumerName != "" {
		next, err := r.next(ctx)
		return next != r.after.Sequence+1, err
	}
	_, err := stream.GetMsg(ctx, r.after.Sequence+1)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read message %d of stream %s: %w", r.after.Sequence+1, info.Config.Name, err)
	}
	return false, nil
}

// next returns the sequence of the first message that was stored after the time of
// the position, one more than the last where there is none. A consumer is asked for
// it, since reading a message by its sequence is permitted for all messages or none.
// A stream that lost its end has other messages behind that time, with sequences up
// to that of the position.
func (r *reading) next(ctx context.Context) (uint64, error) {
	consumer, err := r.client.temporary(ctx, r.client.Filter(r.selection), startAfter(r.after, false))
	if err != nil {
		return 0, err
	}
	return consumer.CachedInfo().Delivered.Stream + 1, nil
}
