package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// maxStuckCalls is how many abandoned calls of a router may run on before it is
// not called any more.
const maxStuckCalls = 8

var errExited = errors.New("the router ended its goroutine")

// caller runs one router: every call is bounded in time, a panic stays inside,
// and calls that outlive their bound are kept count of.
type caller struct {
	Registration

	telemetry routerTelemetry
	stuck     stuckCalls
	log       failureLog
}

func newCaller(r Registration, telemetry routerTelemetry, logger *slog.Logger) *caller {
	r.OnError = r.OnError.orDefault()
	return &caller{Registration: r, telemetry: telemetry, log: failureLog{logger: logger}}
}

// ask puts one question to the router of c. It returns the answer, or how the
// router failed.
func ask[T any](ctx context.Context, c *caller, question string, put func(context.Context) (T, error)) (T, *Failure) {
	var none T
	if ctx.Err() != nil {
		return none, c.failure(KindCancelled, context.Cause(ctx))
	}
	if stuck := c.stuck.count(); stuck >= maxStuckCalls {
		return none, c.failure(KindTimeout, fmt.Errorf("not called: %d earlier calls are stuck", stuck))
	}
	bounded, cancel := c.bound(ctx)
	defer cancel()
	traced, measurement := c.telemetry.start(bounded, question)
	answer, err := await(traced, start(traced, put), &c.stuck)
	measurement.end(traced, err)
	if err != nil {
		return none, c.classify(ctx, bounded, err)
	}
	return answer, nil
}

// bound returns ctx with the timeout of c, or ctx itself where that ends sooner.
func (c *caller) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	until := time.Now().Add(c.Timeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, until)
}

// classify makes the failure of err, which a call under bounded for a caller under
// ctx ended with.
func (c *caller) classify(ctx, bounded context.Context, err error) *Failure {
	_, panicked := errors.AsType[*PanicError](err)
	switch {
	case panicked:
		return c.failure(KindPanic, err)
	case ctx.Err() != nil:
		return c.failure(KindCancelled, err)
	case bounded.Err() != nil:
		return c.failure(KindTimeout, fmt.Errorf("no answer within %v: %w", c.Timeout, err))
	default:
		return c.failure(KindError, err)
	}
}

func (c *caller) failure(kind FailureKind, err error) *Failure {
	return &Failure{Router: c.Name, Kind: kind, Err: err, OnError: c.OnError}
}

// report counts and logs f, a failure of c.
func (c *caller) report(ctx context.Context, f *Failure) {
	c.telemetry.failed(ctx, f.Kind)
	c.log.write(ctx, f)
}

// running is a call in its own goroutine, which alone writes answer and err until
// done is closed.
type running[T any] struct {
	done   chan struct{}
	answer T
	err    error
}

func start[T any](ctx context.Context, put func(context.Context) (T, error)) *running[T] {
	r := &running[T]{done: make(chan struct{}), err: errExited}
	go func() {
		defer close(r.done)
		defer r.recover()
		r.answer, r.err = put(ctx)
	}()
	return r
}

func (r *running[T]) recover() {
	if value := recover(); value != nil {
		r.err = &PanicError{Value: value, Stack: debug.Stack()}
	}
}

// await returns the outcome of r. Where ctx ends first, r is abandoned to stuck and
// the error is that of ctx.
func await[T any](ctx context.Context, r *running[T], stuck *stuckCalls) (T, error) {
	select {
	case <-r.done:
		return r.answer, r.err
	case <-ctx.Done():
	}
	select {
	case <-r.done: // both at once: the answer counts
		return r.answer, r.err
	default:
		stuck.add(r.done)
		var none T
		return none, context.Cause(ctx)
	}
}

// stuckCalls are the abandoned calls of one router that have not ended yet.
type stuckCalls struct {
	mu   sync.Mutex
	done []<-chan struct{} // closed when the call ends
}

func (s *stuckCalls) add(done <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, done)
}

// count forgets the calls that ended and returns how many have not.
func (s *stuckCalls) count() int { return len(s.pending()) }

// wait returns nil once all abandoned calls ended, or the cause of ctx's end.
func (s *stuckCalls) wait(ctx context.Context) error {
	for _, done := range s.pending() {
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (s *stuckCalls) pending() []<-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []<-chan struct{}
	for _, done := range s.done {
		if !isClosed(done) {
			pending = append(pending, done)
		}
	}
	s.done = pending
	return pending
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
