package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Publisher publishes updates and checks that each is stored. Updates of one user
// are stored in the order in which they were taken over: the next one is sent when
// the one before it has an outcome. Those of different users do not wait for each
// other. It is safe for use by several goroutines.
type Publisher struct {
	config PublisherConfig
	client *Client
	ids    messageIDs

	room     chan struct{}  // holds one element for each update without an outcome
	arrivals chan *pending  // never full, because of room
	flushes  chan *flushing // asked for
	stop     context.CancelCauseFunc
	done     chan struct{} // closed when no goroutine of the Publisher runs any more

	mu     sync.RWMutex // read-locked while something is put into arrivals
	closed bool
	failed failures // not told by a Flush yet
}

// Receipt says where an update is stored.
type Receipt struct {
	Sequence  uint64 // in the updates stream
	Duplicate bool   // an update with the same ID was stored before
}

// Promise is told the outcome of one update: where it is stored, or a
// *PublishError. Promises run one at a time, in order for one user. One must not
// block, nor call the Publisher.
type Promise func(Receipt, error)

// Publisher returns a Publisher into the updates stream, which works until it is
// closed or ctx ends. The error is about config or the connection.
func (c *Client) Publisher(ctx context.Context, config PublisherConfig) (*Publisher, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("make publisher: %w", err)
	}
	answers, err := newAnswers(c.nc, config.MaxPending)
	if err != nil {
		return nil, fmt.Errorf("make publisher: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	p := &Publisher{
		config:   config,
		client:   c,
		ids:      newMessageIDs(config.IDKey),
		room:     make(chan struct{}, config.MaxPending),
		arrivals: make(chan *pending, config.MaxPending),
		flushes:  make(chan *flushing),
		stop:     stop,
		done:     make(chan struct{}),
	}
	go func() {
		defer close(p.done)
		defer answers.close()
		newPublishing(p, answers).run(ctx)
	}()
	return p, nil
}

// Publish takes update over, and tells promise, which may be nil, the outcome. It
// waits while MaxPending updates have none, at most until ctx ends. Where it
// returns an error, the update is not taken over and promise is not called: an
// update that a worker would make a dead letter of is a *wire.InvalidError.
func (p *Publisher) Publish(ctx context.Context, update Update, promise Promise) error {
	msg, err := update.message(p.client.subjects, p.ids, p.config.MaxUpdateBytes)
	if err != nil {
		return &PublishError{User: update.State.UserID, ID: update.ID, Err: err}
	}
	one := &pending{user: update.State.UserID, id: update.ID, msg: msg, promise: promise}
	if err := p.take(ctx, one); err != nil {
		return &PublishError{User: one.user, ID: one.id, Err: err}
	}
	return nil
}

func (p *Publisher) take(ctx context.Context, one *pending) error {
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.done:
		return ErrClosed
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		<-p.room
		return ErrClosed
	}
	one.deadline = time.Now().Add(p.config.RetryLimit)
	p.arrivals <- one
	return nil
}

// Flush waits until everything that was taken over has an outcome, at most until
// ctx ends. It returns nil where all of it was stored since the last Flush, else
// an error that counts what was not and wraps the *PublishError of the first.
func (p *Publisher) Flush(ctx context.Context) error {
	flush := &flushing{over: make(chan struct{})}
	select {
	case p.flushes <- flush:
	case <-ctx.Done():
		return fmt.Errorf("flush publisher: %w", context.Cause(ctx))
	case <-p.done:
		return ErrClosed
	}
	select {
	case <-flush.over:
		return p.failed.take()
	case <-ctx.Done():
		return fmt.Errorf("flush publisher: %w", context.Cause(ctx))
	}
}

// Close takes nothing more over, flushes, and ends the Publisher. What has no
// outcome when ctx ends gets one then: an error that wraps ErrClosed, and
// ErrUnknownOutcome where the update was sent. Close returns what Flush would.
func (p *Publisher) Close(ctx context.Context) error {
	p.refuse()
	err := p.Flush(ctx)
	if errors.Is(err, ErrClosed) {
		err = nil // it ended before, and the failures tell of it
	}
	p.stop(ErrClosed)
	<-p.done
	return errors.Join(err, p.failed.take())
}

// refuse has nothing more taken over.
func (p *Publisher) refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
