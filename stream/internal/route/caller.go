package route

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// Batch is some updates of one partition that are routed together: decoded, and
// after routing with their recipients.
type Batch struct {
	partition  int
	updates    []updates.Update
	states     []presence.UserState // of the updates that decode, in order
	letters    []letter             // of those that do not, and of those a router failed on
	recipients []routing.Recipient  // in order of their IDs
	refused    []uint64             // sequences of updates that go to nobody, because no recipient may have them
	traces     map[uint64]tracing   // of the updates that carry a trace context, by sequence; nil for none
}

// letter is a dead letter of a batch.
type letter struct {
	update updates.Update
	reason wire.Reason
	router string
	err    error
}

// Caller takes batches from bytes to recipients.
type Caller struct {
	Dispatcher *routing.Dispatcher
	Subjects   wire.Subjects
	MaxBytes   int           // of one update
	RetryLimit time.Duration // for a router whose policy is retry
	Partition  int
	Stall      *wait.Stall // of all partitions
	Tracer     trace.Tracer
}

// Decode makes a batch of updates. Those that cannot be routed become letters.
func (r *Caller) Decode(ctx context.Context, updates []updates.Update) Batch {
	b := Batch{partition: r.Partition, updates: updates, states: make([]presence.UserState, 0, len(updates))}
	for _, u := range updates {
		state, err := r.decodeOne(u)
		if err != nil {
			b.letters = append(b.letters, letter{update: u, reason: reason(err), err: err})
			continue
		}
		b.states = append(b.states, state)
	}
	b.traces = traces{r.Tracer}.route(ctx, updates)
	return b
}

func (r *Caller) decodeOne(u updates.Update) (presence.UserState, error) {
	state, err := wire.DecodeUpdate(u.Data, u.Sequence, r.MaxBytes)
	if err != nil {
		return presence.UserState{}, err
	}
	if !r.Subjects.NamesUser(u.Subject, state.UserID) {
		return presence.UserState{}, &wire.InvalidError{Reason: wire.SubjectMismatch, Err: r.mismatch(u.Subject, state.UserID)}
	}
	return state, nil
}

// mismatch says why a stored subject does not name user.
func (r *Caller) mismatch(stored string, user presence.UserID) error {
	front, _ := r.Subjects.FrontDoor(stored)
	if _, err := r.Subjects.ParseFrontDoor(front); err != nil {
		return fmt.Errorf("user_id is %q: want subject %s: %w", user, r.Subjects.Update(user), err)
	}
	return fmt.Errorf("user_id is %q: want the user that subject %s names", user, front)
}

func reason(err error) wire.Reason {
	if invalid, ok := errors.AsType[*wire.InvalidError](err); ok {
		return invalid.Reason
	}
	return wire.Malformed
}

// Ask asks the routers who receives the states of b. It returns b in one or
// more parts, in order: where a router fails on a batch, the batch is halved
// until the updates that it fails on stand alone, so that the others are not
// drawn in. The error is the one of ctx.
func (r *Caller) Ask(ctx context.Context, b Batch) ([]Batch, error) {
	if len(b.states) == 0 {
		return []Batch{b}, nil
	}
	result, err := r.persist(ctx, b.states)
	if err != nil {
		return nil, err
	}
	return r.settle(ctx, b, result)
}

func (r *Caller) settle(ctx context.Context, b Batch, result routing.Result) ([]Batch, error) {
	if len(b.updates) > 1 && slices.ContainsFunc(result.Failures, isolates) {
		return r.halve(ctx, b)
	}
	b.recipients, b.refused = result.Recipients, result.Refused
	for _, f := range result.Failures {
		if f.OnError != routing.Skip {
			b.letters = append(b.letters, lettersOf(b, f)...)
		}
	}
	return []Batch{b}, nil
}

// isolates reports whether a failure is likely one of single updates: a panic,
// or an error that would cost dead letters. What takes too long would only take
// longer in parts.
func isolates(f routing.Failure) bool {
	switch f.Kind {
	case routing.KindPanic:
		return true
	case routing.KindError, routing.KindInvalid:
		return f.OnError != routing.Skip
	case routing.KindTimeout, routing.KindCancelled:
		return false
	default:
		return false
	}
}

func (r *Caller) halve(ctx context.Context, b Batch) ([]Batch, error) {
	var parts []Batch
	for _, half := range b.cut(len(b.updates) / 2) {
		result, err := r.once(ctx, half.states)
		if err != nil {
			return nil, err
		}
		settled, err := r.settle(ctx, half, result)
		if err != nil {
			return nil, err
		}
		parts = append(parts, settled...)
	}
	return parts, nil
}

// cut cuts a batch behind its first n updates. Recipients are cut by the states
// they receive; states that a router made up go with the second part.
func (b Batch) cut(n int) [2]Batch {
	last := b.updates[n-1].Sequence
	parts := [2]Batch{
		{partition: b.partition, updates: b.updates[:n], traces: b.traces},
		{partition: b.partition, updates: b.updates[n:], traces: b.traces},
	}
	for _, s := range b.states {
		part := &parts[side(s, last)]
		part.states = append(part.states, s)
	}
	at, _ := slices.BinarySearch(b.refused, last+1)
	parts[0].refused, parts[1].refused = b.refused[:at], b.refused[at:]
	for _, l := range b.letters {
		part := &parts[0]
		if l.update.Sequence > last {
			part = &parts[1]
		}
		part.letters = append(part.letters, l)
	}
	for _, r := range b.recipients {
		at := slices.IndexFunc(r.States, func(s presence.UserState) bool { return side(s, last) == 1 })
		if at < 0 {
			at = len(r.States)
		}
		for i, states := range [2][]presence.UserState{r.States[:at], r.States[at:]} {
			if len(states) > 0 {
				r.States = states
				parts[i].recipients = append(parts[i].recipients, r)
			}
		}
	}
	return parts
}

// side returns 0 for states of updates up to last, 1 for the others.
func side(s presence.UserState, last uint64) int {
	if p := s.Published(); p != nil && p.Position <= last {
		return 0
	}
	return 1
}

func lettersOf(b Batch, f routing.Failure) []letter {
	var letters []letter
	for _, u := range b.updates {
		known := func(l letter) bool { return l.update.Sequence == u.Sequence }
		if slices.ContainsFunc(b.letters, known) {
			continue
		}
		letters = append(letters, letter{update: u, reason: wire.RouterFailed, router: f.Router, err: f.Err})
	}
	return letters
}

// once asks the routers once. A result that ctx cut short does not count.
func (r *Caller) once(ctx context.Context, states []presence.UserState) (routing.Result, error) {
	result := r.Dispatcher.UsersForStates(ctx, states)
	if ctx.Err() != nil {
		return routing.Result{}, context.Cause(ctx)
	}
	return result, nil
}

// persist asks the routers again while one fails whose policy is retry, for a
// bounded time, and returns the last result.
func (r *Caller) persist(ctx context.Context, states []presence.UserState) (routing.Result, error) {
	retry := wait.NewBackOff()
	retry.MaxElapsedTime = max(r.RetryLimit, 1) // 0 would be no bound
	retry.Reset()
	for {
		result, err := r.once(ctx, states)
		if err != nil {
			return routing.Result{}, err
		}
		failed := slices.IndexFunc(result.Failures, func(f routing.Failure) bool { return f.OnError == routing.Retry })
		if failed < 0 {
			r.Stall.EndedFor(r.Partition)
			return result, nil
		}
		next := retry.NextBackOff()
		if next == backoff.Stop {
			r.Stall.EndedFor(r.Partition)
			return result, nil
		}
		r.Stall.FailedFor(r.Partition, fmt.Errorf("router %s: %w", result.Failures[failed].Router, result.Failures[failed].Err))
		wait.Pause(ctx, next)
	}
}
