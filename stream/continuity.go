package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// continuity compares positions with the updates stream. A stream that was made
// again, restored from a backup or rolled back by a power loss gives old
// sequences to new updates; a position in the old one then goes on from the first
// update stored after its time, under a new epoch.
type continuity struct {
	js       jetstream.JetStream
	updates  leader
	subjects wire.Subjects
	log      *slog.Logger

	tellExpired sync.Once

	mu      sync.Mutex
	noticed notice // the newest break, so that all partitions share one epoch and one log line
}

// notice is a break in the updates stream: where the stream stood when it was
// noticed first.
type notice struct {
	created time.Time
	from    int64 // the epoch that ended
	epoch   int64 // the epoch that began
}

// resume returns where to go on from p. It returns p itself where the stream is
// still the one that p, and what was read behind it up to reached, were made in.
// written is when p was known to be the newest position, zero where it still is.
func (c *continuity) resume(ctx context.Context, p, reached position, written time.Time) (position, error) {
	stream, err := c.js.Stream(ctx, c.updates.stream)
	if err != nil {
		return position{}, fmt.Errorf("look up stream %s: %w", c.updates.stream, err)
	}
	info := stream.CachedInfo()
	reason, err := c.broken(ctx, p, info)
	if err == nil && reason == "" && reached.sequence > p.sequence {
		reason, err = c.broken(ctx, reached, info)
	}
	if err != nil {
		return position{}, err
	}
	if reason == "" {
		c.expired(p, written, info)
		if planted == purgeSkips && p.sequence > 0 && p.next() < info.State.FirstSeq {
			p.sequence, p.time = info.State.LastSeq, info.State.LastTime
		}
		return p, nil
	}
	resumed, err := c.firstAfter(ctx, p.time, info)
	if err != nil {
		return position{}, err
	}
	resumed.epoch = c.epoch(p, info, reason)
	return resumed, nil
}

// errMadeAgain is the error about a stream that is not the one of a position.
var errMadeAgain = errors.New("the stream was made again")

// errNotTheSame is the error about a stream that is not the one it was a moment ago.
var errNotTheSame = errors.New("the stream was made again or went back")

// holds returns nil while the stream is the one that p was made in, as far as that
// is told without reading.
func (c *continuity) holds(ctx context.Context, p position) error {
	stream, err := c.js.Stream(ctx, c.updates.stream)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", c.updates.stream, err)
	}
	if info := stream.CachedInfo(); !info.Created.Equal(p.created) || p.sequence > info.State.LastSeq {
		return fmt.Errorf("read stream %s: %w", c.updates.stream, errNotTheSame)
	}
	return nil
}

// broken says why p was not made in the stream as it is now, or "".
func (c *continuity) broken(ctx context.Context, p position, info *jetstream.StreamInfo) (string, error) {
	state := info.State
	switch {
	case !p.created.Equal(info.Created):
		return errMadeAgain.Error(), nil
	case p.sequence > state.LastSeq:
		return "the stream lost its newest updates", nil
	case p.sequence == 0 || state.Msgs == 0:
		return "", nil
	case p.sequence < state.FirstSeq:
		return "", nil // expired: nothing is left to compare
	}
	message, err := c.updates.get(ctx, getRequest{Sequence: p.sequence})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil // deleted alone: nothing speaks of a break
	}
	if err != nil {
		return "", err
	}
	if !message.Time.Equal(p.time) {
		return "the stream holds another update at the same sequence", nil
	}
	return "", nil
}

// expired logs, once, that updates were stored and deleted again while nobody read
// them. Whether some of them were of this partition, the server cannot tell.
func (c *continuity) expired(p position, written time.Time, info *jetstream.StreamInfo) {
	if written.IsZero() || p.next() >= info.State.FirstSeq || !written.Before(info.State.FirstTime) {
		return
	}
	c.tellExpired.Do(func() {
		c.log.Warn("updates expired before they were routed, see max_age and max_bytes of the updates stream",
			"stream", c.updates.stream, "routed_until", written, "oldest_update", info.State.FirstTime, "oldest_sequence", info.State.FirstSeq)
	})
}

// firstAfter returns the position before the first update that was stored after
// t.
func (c *continuity) firstAfter(ctx context.Context, t time.Time, info *jetstream.StreamInfo) (position, error) {
	before := position{sequence: info.State.LastSeq, time: t, created: info.Created}
	after := t.Add(time.Nanosecond)
	first, err := c.updates.get(ctx, getRequest{NextSubject: c.subjects.StoredUpdates(), StartTime: &after})
	switch {
	case err == nil:
		before.sequence = first.Sequence - 1
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return position{}, err
	}
	if before.sequence == 0 {
		return before, nil
	}
	// The time goes with the sequence, so that the next comparison finds no break.
	last, err := c.updates.get(ctx, getRequest{Sequence: before.sequence})
	switch {
	case err == nil:
		before.time = last.Time
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return position{}, err
	}
	return before, nil
}

// epoch returns the epoch that begins with the break, the same for every
// partition that notices it, and logs it once.
func (c *continuity) epoch(p position, info *jetstream.StreamInfo, reason string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noticed.created.Equal(info.Created) && c.noticed.from == p.epoch {
		return c.noticed.epoch
	}
	epoch := max(info.Created.UnixMilli(), p.epoch+1)
	if p.created.Equal(info.Created) {
		epoch = max(time.Now().UnixMilli(), p.epoch+1)
	}
	c.noticed = notice{created: info.Created, from: p.epoch, epoch: epoch}
	c.log.Warn("updates stream is not the one known, going on from the first update stored after the last one routed",
		"stream", c.updates.stream, "reason", reason, "position", p.sequence, "position_time", p.time,
		"stream_created", info.Created, "stream_last", info.State.LastSeq, "epoch", epoch)
	return epoch
}
