package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/wire"
)

// Continuity compares positions with the updates stream. A stream that was made
// again, restored from a backup or rolled back by a power loss gives old
// sequences to new updates; a position in the old one then goes on from the first
// update stored after its time, under a new epoch.
type Continuity struct {
	js       jetstream.JetStream
	updates  jsapi.Leader
	subjects wire.Subjects
	log      *slog.Logger

	tellExpired sync.Once

	mu      sync.Mutex
	noticed notice // the newest break, so that all partitions share one epoch and one log line
}

// NewContinuity returns a comparison with the updates stream of a deployment.
func NewContinuity(js jetstream.JetStream, subjects wire.Subjects, log *slog.Logger) *Continuity {
	updates := jsapi.Leader{NC: js.Conn(), Stream: subjects.UpdatesStream()}
	return &Continuity{js: js, updates: updates, subjects: subjects, log: log}
}

// notice is a break in the updates stream: where the stream stood when it was
// noticed first.
type notice struct {
	created time.Time
	from    int64 // the epoch that ended
	epoch   int64 // the epoch that began
}

// Resume returns where to go on from p. It returns p itself where the stream is
// still the one that p, and what was read behind it up to reached, were made in.
// written is when p was known to be the newest position, zero where it still is.
func (c *Continuity) Resume(ctx context.Context, p, reached Position, written time.Time) (Position, error) {
	stream, err := c.js.Stream(ctx, c.updates.Stream)
	if err != nil {
		return Position{}, fmt.Errorf("look up stream %s: %w", c.updates.Stream, err)
	}
	info := stream.CachedInfo()
	reason, err := c.Broken(ctx, p, info)
	if err == nil && reason == "" && reached.Sequence > p.Sequence {
		reason, err = c.Broken(ctx, reached, info)
	}
	if err != nil {
		return Position{}, err
	}
	if reason == "" {
		c.expired(p, written, info)
		if planted.Mistake == planted.PurgeSkips && p.Sequence > 0 && p.Next() < info.State.FirstSeq {
			p.Sequence, p.Time = info.State.LastSeq, info.State.LastTime
		}
		return p, nil
	}
	resumed, err := c.firstAfter(ctx, p.Time, info)
	if err != nil {
		return Position{}, err
	}
	resumed.Epoch = c.epoch(p, info, reason)
	return resumed, nil
}

// errMadeAgain is the error about a stream that is not the one of a position.
var errMadeAgain = errors.New("the stream was made again")

// errNotTheSame is the error about a stream that is not the one it was a moment ago.
var errNotTheSame = errors.New("the stream was made again or went back")

// Holds returns nil while the stream is the one that p was made in, as far as that
// is told without reading.
func (c *Continuity) Holds(ctx context.Context, p Position) error {
	stream, err := c.js.Stream(ctx, c.updates.Stream)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", c.updates.Stream, err)
	}
	if info := stream.CachedInfo(); !info.Created.Equal(p.Created) || p.Sequence > info.State.LastSeq {
		return fmt.Errorf("read stream %s: %w", c.updates.Stream, errNotTheSame)
	}
	return nil
}

// Broken says why p was not made in the stream as it is now, or "".
func (c *Continuity) Broken(ctx context.Context, p Position, info *jetstream.StreamInfo) (string, error) {
	state := info.State
	switch {
	case !p.Created.Equal(info.Created):
		return errMadeAgain.Error(), nil
	case p.Sequence > state.LastSeq:
		return "the stream lost its newest updates", nil
	case p.Sequence == 0 || state.Msgs == 0:
		return "", nil
	case p.Sequence < state.FirstSeq:
		return "", nil // expired: nothing is left to compare
	}
	message, err := c.updates.Get(ctx, jsapi.MessageRequest{Sequence: p.Sequence})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return "", nil // deleted alone: nothing speaks of a break
	}
	if err != nil {
		return "", err
	}
	if !message.Time.Equal(p.Time) {
		return "the stream holds another update at the same sequence", nil
	}
	return "", nil
}

// expired logs, once, that updates were stored and deleted again while nobody read
// them. Whether some of them were of this partition, the server cannot tell.
func (c *Continuity) expired(p Position, written time.Time, info *jetstream.StreamInfo) {
	if written.IsZero() || p.Next() >= info.State.FirstSeq || !written.Before(info.State.FirstTime) {
		return
	}
	c.tellExpired.Do(func() {
		c.log.Warn("updates expired before they were routed, see max_age and max_bytes of the updates stream",
			"stream", c.updates.Stream, "routed_until", written, "oldest_update", info.State.FirstTime, "oldest_sequence", info.State.FirstSeq)
	})
}

// firstAfter returns the position before the first update that was stored after
// t.
func (c *Continuity) firstAfter(ctx context.Context, t time.Time, info *jetstream.StreamInfo) (Position, error) {
	before := Position{Sequence: info.State.LastSeq, Time: t, Created: info.Created}
	after := t.Add(time.Nanosecond)
	first, err := c.updates.Get(ctx, jsapi.MessageRequest{NextSubject: c.subjects.StoredUpdates(), StartTime: &after})
	switch {
	case err == nil:
		before.Sequence = first.Sequence - 1
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return Position{}, err
	}
	if before.Sequence == 0 {
		return before, nil
	}
	// The time goes with the sequence, so that the next comparison finds no break.
	last, err := c.updates.Get(ctx, jsapi.MessageRequest{Sequence: before.Sequence})
	switch {
	case err == nil:
		before.Time = last.Time
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return Position{}, err
	}
	return before, nil
}

// epoch returns the epoch that begins with the break, the same for every
// partition that notices it, and logs it once.
func (c *Continuity) epoch(p Position, info *jetstream.StreamInfo, reason string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noticed.created.Equal(info.Created) && c.noticed.from == p.Epoch {
		return c.noticed.epoch
	}
	epoch := max(info.Created.UnixMilli(), p.Epoch+1)
	if p.Created.Equal(info.Created) {
		epoch = max(time.Now().UnixMilli(), p.Epoch+1)
	}
	c.noticed = notice{created: info.Created, from: p.Epoch, epoch: epoch}
	c.log.Warn("updates stream is not the one known, going on from the first update stored after the last one routed",
		"stream", c.updates.Stream, "reason", reason, "position", p.Sequence, "position_time", p.Time,
		"stream_created", info.Created, "stream_last", info.State.LastSeq, "epoch", epoch)
	return epoch
}
