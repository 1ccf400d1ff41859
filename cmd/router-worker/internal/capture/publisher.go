package capture

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"

	"github.com/presence-router/presence-router/stream/client"
)

// Publisher publishes the updates of a capture.
type Publisher struct {
	client *client.Client
	config client.PublisherConfig
	run    string // begins the message IDs

	mu       sync.Mutex // held while one of the functions runs
	stored   func(Line)
	rejected func(Line)
	pending  int // taken over and not stored
}

// NewPublisher returns a Publisher of updates of at most maxBytes, which tells
// stored of each update that is stored, in order for each user, and rejected of
// each line that holds none; one at a time.
func NewPublisher(c *client.Client, maxBytes int, stored, rejected func(Line)) *Publisher {
	config := client.DefaultPublisherConfig()
	config.MaxUpdateBytes = maxBytes
	return &Publisher{client: c, config: config, run: rand.Text(), stored: stored, rejected: rejected}
}

// Publish publishes lines until the channel is closed and everything is stored. The
// error is about the first update that is not, after retries, or the end of ctx.
func (p *Publisher) Publish(ctx context.Context, lines <-chan Line) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	publisher, err := p.client.Publisher(ctx, p.config)
	if err != nil {
		return err
	}
	err = p.publish(ctx, publisher, lines, stop)
	if closed := publisher.Close(ctx); err == nil && closed != nil {
		err = closed
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("publish updates: %w", context.Cause(ctx))
	}
	return err
}

// Unacknowledged returns how many updates were taken over and are not known to be
// stored.
func (p *Publisher) Unacknowledged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending
}

func (p *Publisher) publish(ctx context.Context, publisher *client.Publisher, lines <-chan Line, stop context.CancelCauseFunc) error {
	for {
		select {
		case line, open := <-lines:
			if !open {
				return nil
			}
			if line.Err != nil {
				p.tell(func() { p.rejected(line) })
			} else if err := p.take(ctx, publisher, line, stop); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take hands one line over. The first update that is not stored stops the others.
func (p *Publisher) take(ctx context.Context, publisher *client.Publisher, line Line, stop context.CancelCauseFunc) error {
	p.tell(func() { p.pending++ })
	update := client.Update{State: line.State, ID: p.run + "-" + strconv.Itoa(line.Number)}
	err := publisher.Publish(ctx, update, func(_ client.Receipt, err error) {
		if err != nil {
			stop(fmt.Errorf("line %d: %w", line.Number, err))
			return
		}
		p.tell(func() {
			p.pending--
			p.stored(line)
		})
	})
	if err != nil {
		p.tell(func() { p.pending-- })
	}
	return err
}

func (p *Publisher) tell(what func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what()
}
