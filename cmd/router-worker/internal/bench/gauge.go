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
	// next waits for news and returns how many updates are done, and how many
	// workers have done some.
	next(ctx context.Context) (done, workers int, err error)
	stop()
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

func (c *checkpoints) next(ctx context.Context) (done, workers int, err error) {
	m, err := c.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return 0, 0, fmt.Errorf("follow the checkpoints: %w", err)
	}
	_, partition, err := c.ground.subjects.ParseCheckpoint(m.Subject())
	if err != nil {
		return 0, 0, err
	}
	checkpoint, err := wire.DecodeCheckpoint(m.Data())
	if err != nil {
		return 0, 0, err
	}
	committed := c.backlog.committed(partition, checkpoint)
	if committed > c.by[partition] {
		c.workers[checkpoint.Worker] = true
	}
	c.done += committed - c.by[partition]
	c.by[partition] = committed
	return c.done, len(c.workers), nil
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

func (c *count) next(ctx context.Context) (done, workers int, err error) {
	select {
	case <-c.ticks.C:
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("count deliveries: %w", context.Cause(ctx))
	}
	stored, err := c.ground.stored(ctx)
	return int(stored) / c.each, 0, err //nolint:gosec // It fits.
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
