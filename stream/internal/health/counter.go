package health

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// pendingInterval is how often a worker has the server count what its partitions have
// left to do.
const pendingInterval = 5 * time.Second

// counter has the server count what the partitions have left to do, and what they lost.
type counter struct {
	js       jetstream.JetStream
	subjects wire.Subjects
	log      *slog.Logger
	progress *progress
	losses   *losses
	counted  *jetstream.StreamInfo // of the updates, when everything was counted last; of the goroutine in run
}

// run counts until ctx ends. What cannot be counted, such as without a connection, stays
// as it was counted last.
func (c *counter) run(ctx context.Context) {
	due := time.NewTicker(pendingInterval)
	defer due.Stop()
	for !wait.Ended(ctx) {
		if err := c.countPartitions(ctx); err != nil {
			c.log.Debug("pending updates are not counted", "error", err)
		}
		select {
		case <-due.C:
		case <-ctx.Done():
		}
	}
}

// countPartitions counts one partition after the other, until the first error.
func (c *counter) countPartitions(ctx context.Context) (err error) {
	info, err := c.updatesInfo(ctx)
	if err != nil {
		return err
	}
	before := c.counted
	if before == nil || !before.Created.Equal(info.Created) || before.State.LastSeq > info.State.LastSeq {
		c.losses.forget() // It is another stream, or not everything was counted.
	}
	defer c.losses.next()
	c.counted = nil
	for p, f := range c.progress.followed() {
		reached := p.Position()
		left, err := jsapi.ReadBacklog(ctx, c.js.Conn(), info.Config.Name, reached.Undone(p.ID().Updates(c.subjects), info.Created))
		if err != nil {
			return err
		}
		f.pending.Store(&left.Messages)
		if err := c.lossesOf(ctx, p, f.reader.Consumer(), info, before); err != nil {
			return err
		}
	}
	c.counted, err = c.updatesInfo(ctx)
	return err
}

func (c *counter) updatesInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	updates, err := c.js.Stream(ctx, c.subjects.UpdatesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", c.subjects.UpdatesStream(), err)
	}
	return updates.CachedInfo(), nil
}

// lossesOf looks how far the consumer with that name is, which reads a partition. What was
// sent and what is stored becomes more with every update that is stored, and less with
// each that is dropped. Updates that are stored and dropped between two looks are not
// counted. The updates stream is as it is now, and as it was when everything was counted.
func (c *counter) lossesOf(ctx context.Context, p *commit.Partition, name string, updates, counted *jetstream.StreamInfo) error {
	if name == "" {
		return nil
	}
	before := c.losses.before[p]
	dropped := before.consumer == name && updates.State.FirstSeq > before.sequence+1
	since := jsapi.Backlog{}
	if dropped {
		var err error
		from := jsapi.MessageRequest{Sequence: counted.State.LastSeq + 1, NextSubject: p.ID().Updates(c.subjects)}
		if since, err = jsapi.ReadBacklog(ctx, c.js.Conn(), updates.Config.Name, from); err != nil {
			return err
		}
	}
	consumer, err := c.js.Consumer(ctx, updates.Config.Name, name)
	if err != nil {
		return fmt.Errorf("look up the consumer of partition %d: %w", p.ID().Number, err)
	}
	info := consumer.CachedInfo()
	now := reading{consumer: name, sequence: info.Delivered.Stream, ever: info.Delivered.Consumer + info.NumPending}
	if want := before.ever + since.Messages; dropped && want > now.ever {
		c.losses.lost(ctx, p.ID().Number, want-now.ever)
	}
	c.losses.now[p] = now
	return nil
}

// lossInterval is how often at most lost updates are logged.
const lossInterval = time.Minute

// losses counts updates that the updates stream dropped before they were read. But for
// what sum returns, its fields are of the goroutine that counts what is pending.
type losses struct {
	log       *slog.Logger
	telemetry *telemetry
	before    map[*commit.Partition]reading // at the last look
	now       map[*commit.Partition]reading
	unsaid    uint64 // lost and not logged yet
	numbers   []int  // partitions of those
	said      time.Time

	total atomic.Uint64
	last  atomic.Int64 // when some were lost last, Unix time in ns
}

// reading is how far the consumer of a partition was.
type reading struct {
	consumer string
	sequence uint64 // of the newest update that was sent
	ever     uint64 // updates that were sent, or stored behind that
}

func newLosses(log *slog.Logger, t *telemetry) *losses {
	return &losses{log: log, telemetry: t, before: make(map[*commit.Partition]reading), now: make(map[*commit.Partition]reading)}
}

func (l *losses) lost(ctx context.Context, partition int, updates uint64) {
	l.telemetry.lostUpdates(ctx, partition, updates)
	l.total.Add(updates)
	l.last.Store(time.Now().UnixNano())
	l.unsaid += updates
	l.numbers = append(l.numbers, partition)
}

// sum returns how many were lost, and when the last of them was.
func (l *losses) sum() (updates uint64, last time.Time) {
	if updates = l.total.Load(); updates > 0 {
		last = time.Unix(0, l.last.Load())
	}
	return updates, last
}

// next ends a look. It logs what is lost, at most once in a while.
func (l *losses) next() {
	l.before, l.now = l.now, make(map[*commit.Partition]reading)
	if l.unsaid == 0 || time.Since(l.said) < lossInterval {
		return
	}
	l.log.Warn("updates are lost: the updates stream dropped them before they were routed, see streams.updates.max_bytes and max_age",
		"updates", l.unsaid, "partitions", slices.Compact(slices.Sorted(slices.Values(l.numbers))))
	l.said, l.unsaid, l.numbers = time.Now(), 0, nil
}

// forget forgets the last look, as after an error.
func (l *losses) forget() { clear(l.before) }
