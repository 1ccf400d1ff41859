package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// gauge tells how much of a backlog is done.
type gauge interface {
	next(ctx context.Context) (news, error) // waits for news
	stop()
}

// news is how far workers are.
type news struct {
	done    int // updates
	workers int // who have done some
	at      time.Time
}

// checkpoints is the gauge of workers: it follows the positions they commit.
type checkpoints struct {
	backlog  *backlog
	messages jetstream.MessagesContext
	ground   *ground
	by       map[int]int // updates that are committed, by partition
	workers  map[string]bool
	done     int
}

func (g *ground) checkpoints(ctx context.Context, b *backlog) (*checkpoints, error) {
	consumer, err := g.js.OrderedConsumer(ctx, g.subjects.DeliveriesStream(), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{g.subjects.Checkpoints()},
	})
	if err != nil {
		return nil, fmt.Errorf("follow the checkpoints: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("follow the checkpoints: %w", err)
	}
	return &checkpoints{ground: g, backlog: b, messages: messages, by: make(map[int]int), workers: make(map[string]bool)}, nil
}

// next tells when the server stored the checkpoint, whenever that is read.
func (c *checkpoints) next(ctx context.Context) (news, error) {
	m, err := c.messages.Next(jetstream.NextContext(ctx))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return news{}, fmt.Errorf("follow the checkpoints: %w", err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return news{}, fmt.Errorf("read metadata: %w", err)
	}
	_, partition, err := c.ground.subjects.ParseCheckpoint(m.Subject())
	if err != nil {
		return news{}, err
	}
	checkpoint, err := wire.DecodeCheckpoint(m.Data())
	if err != nil {
		return news{}, err
	}
	committed := c.backlog.committed(partition, checkpoint)
	if committed > c.by[partition] {
		c.workers[checkpoint.Worker] = true
	}
	c.done += committed - c.by[partition]
	c.by[partition] = committed
	return news{done: c.done, workers: len(c.workers), at: meta.Timestamp}, nil
}

func (c *checkpoints) stop() { c.messages.Stop() }

const countInterval = 10 * time.Millisecond

// count is the gauge of other programs: it counts the messages they make, one for
// each update and recipient.
type count struct {
	ground *ground
	each   int // messages of one update
	ticks  *time.Ticker
}

func (g *ground) count(each int) *count {
	return &count{ground: g, each: each, ticks: time.NewTicker(countInterval)}
}

func (c *count) next(ctx context.Context) (news, error) {
	select {
	case <-c.ticks.C:
	case <-ctx.Done():
		return news{}, fmt.Errorf("count deliveries: %w", context.Cause(ctx))
	}
	stored, err := c.ground.stored(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return news{done: int(stored) / c.each, at: time.Now()}, err //nolint:gosec // It fits.
}

func (c *count) stop() { c.ticks.Stop() }

// stored returns how many messages the deliveries stream has.
func (g *ground) stored(ctx context.Context) (uint64, error) {
	deliveries, err := g.js.Stream(ctx, g.subjects.DeliveriesStream())
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", g.subjects.DeliveriesStream(), err)
	}
	return deliveries.CachedInfo().State.Msgs, nil
}
