package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// clock measures some work and what the CPU had to do for it.
type clock struct {
	ground *ground
	began  time.Time
	server usage
	worker usage
}

func (g *ground) clock() (*clock, error) {
	c := &clock{ground: g}
	var err error
	if c.server, err = usageOfAll(g.servers); err != nil {
		return nil, err
	}
	if c.worker, err = usageOf(os.Getpid()); err != nil {
		return nil, err
	}
	c.began = time.Now()
	return c, nil
}

// figures returns the rate of n messages, and what they cost this process and the
// servers.
func (c *clock) figures(n int) (Figures, error) {
	took := time.Since(c.began).Seconds()
	server, err := usageOfAll(c.ground.servers)
	if err != nil {
		return Figures{}, err
	}
	worker, err := usageOf(os.Getpid())
	if err != nil {
		return Figures{}, err
	}
	million := float64(n) / 1e6
	return Figures{
		Messages:  float64(n) / took,
		WorkerCPU: worker.since(c.worker) / million,
		ServerCPU: server.since(c.server) / million,
	}, nil
}

// publishRaw measures R: how many messages like deliveries the server takes into the
// deliveries stream, published without waiting for each.
func (g *ground) publishRaw(ctx context.Context, l *load, duration time.Duration) (Figures, error) {
	p, err := g.publishing()
	if err != nil {
		return Figures{}, err
	}
	messages, err := l.deliveries()
	if err != nil {
		return Figures{}, err
	}
	c, err := g.clock()
	if err != nil {
		return Figures{}, err
	}
	n := 0
	for ; time.Since(c.began) < duration && ctx.Err() == nil; n++ {
		m := messages[n%len(messages)]
		if err := p.publish(m.subject, m.data); err != nil {
			return Figures{}, err
		}
	}
	if err := p.done(ctx); err != nil {
		return Figures{}, err
	}
	return c.figures(n)
}

// fastFlow is how many messages of fast ingest the server acknowledges at once; two
// such lots are on their way.
const fastFlow = 500

// publishFast measures how many of the same messages the server takes by fast
// ingest, which the stream is changed to allow.
func (g *ground) publishFast(ctx context.Context, l *load, duration time.Duration) (Figures, error) {
	messages, err := l.deliveries()
	if err != nil {
		return Figures{}, err
	}
	if err := g.allowFast(ctx); err != nil {
		return Figures{}, err
	}
	publisher, err := jetstreamext.NewFastPublisher(g.js,
		jetstreamext.FastPublishFlowControl{Flow: fastFlow, MaxOutstandingAcks: 2, AckTimeout: connectTimeout})
	if err != nil {
		return Figures{}, fmt.Errorf("publish fast: %w", err)
	}
	c, err := g.clock()
	if err != nil {
		return Figures{}, err
	}
	n := 0
	for ; time.Since(c.began) < duration && ctx.Err() == nil; n++ {
		m := messages[n%len(messages)]
		if _, err := publisher.Add(m.subject, m.data); err != nil {
			return Figures{}, fmt.Errorf("publish fast: %w", err)
		}
	}
	if _, err := publisher.Close(ctx); err != nil {
		return Figures{}, fmt.Errorf("publish fast: %w", err)
	}
	return c.figures(n)
}

// codeInvalidJSON is how a server says that it does not know a setting of a stream.
const codeInvalidJSON = 10025

// errNoFastIngest is the error of servers from before fast ingest.
var errNoFastIngest = errors.New("the server does not know fast ingest")

func (g *ground) allowFast(ctx context.Context) error {
	deliveries, err := g.js.Stream(ctx, g.subjects.DeliveriesStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", g.subjects.DeliveriesStream(), err)
	}
	config := deliveries.CachedInfo().Config
	config.AllowBatchPublish = true
	updated, err := g.js.UpdateStream(ctx, config)
	if refusal := (*jetstream.APIError)(nil); errors.As(err, &refusal) && refusal.ErrorCode == codeInvalidJSON {
		return errNoFastIngest
	}
	if err != nil {
		return fmt.Errorf("allow fast ingest into stream %s: %w", config.Name, err)
	}
	if !updated.CachedInfo().Config.AllowBatchPublish { // A server that is not strict passes over what it does not know.
		return errNoFastIngest
	}
	return nil
}

// consumeRaw measures how fast what is in the deliveries stream is read.
func (g *ground) consumeRaw(ctx context.Context) (Figures, error) {
	deliveries, err := g.js.Stream(ctx, g.subjects.DeliveriesStream())
	if err != nil {
		return Figures{}, fmt.Errorf("look up stream %s: %w", g.subjects.DeliveriesStream(), err)
	}
	total := int(deliveries.CachedInfo().State.Msgs) //nolint:gosec // It fits.
	consumer, err := deliveries.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return Figures{}, fmt.Errorf("read stream %s: %w", g.subjects.DeliveriesStream(), err)
	}
	c, err := g.clock()
	if err != nil {
		return Figures{}, err
	}
	read, done := 0, make(chan struct{})
	consuming, err := consumer.Consume(func(jetstream.Msg) {
		if read++; read == total {
			close(done)
		}
	}, jetstream.PullMaxMessages(pending))
	if err != nil {
		return Figures{}, fmt.Errorf("read stream %s: %w", g.subjects.DeliveriesStream(), err)
	}
	defer consuming.Stop()
	select {
	case <-done:
		return c.figures(total)
	case <-ctx.Done():
		return Figures{}, fmt.Errorf("read stream %s: %w", g.subjects.DeliveriesStream(), context.Cause(ctx))
	}
}
