package sender

import (
	"context"
	"errors"
	"time"
)

// settled is what there is to log about a batch that was handed over.
type settled struct {
	failures int           // in a row, before this one
	stale    int           // states given up meanwhile
	pause    time.Duration // until the next one
	isFirst  bool          // that was sent on its route
}

// settle notes how sending l's batch went.
func (o *outbox) settle(ctx context.Context, l *lane, err error) settled {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.busy = false
	s := settled{failures: l.failures, stale: l.stale}
	what := batchOutcome(err)
	o.handed[what]++
	switch {
	case l.sending == nil: // It was forgotten, and the send stopped.
		o.plan(l)
		o.leave(l)
		return s
	case what == sent:
		s.isFirst = o.works(l.route)
		o.sent(ctx, l)
	case what == unknown:
		l.sending.mayHaveArrived = true
	case !l.sending.mayHaveArrived: // No try has reached the destination.
		o.takeBack(l)
	}
	given := time.Duration(0)
	if told, ok := errors.AsType[*RetryAfter](err); ok {
		given = min(told.After, longestGiven)
	}
	s.pause = l.settled(err != nil, given)
	l.due = time.Now().Add(s.pause)
	o.plan(l)
	o.leave(l)
	o.left()
	return s
}

// maxWorking bounds the routes that are known to work.
const maxWorking = 10_000

// works notes that a route works, and reports whether that is news. Routes beyond the
// bound are not.
func (o *outbox) works(r route) bool {
	if o.working[r] || len(o.working) == maxWorking {
		return false
	}
	o.working[r] = true
	return true
}

func batchOutcome(err error) outcome {
	switch {
	case err == nil:
		return sent
	case errors.As(err, new(*Unsent)):
		return unsent
	default:
		return unknown
	}
}

// longestGiven bounds how long a destination may have us wait.
const longestGiven = 24 * time.Hour

func (o *outbox) sent(ctx context.Context, l *lane) {
	o.became[sent] += int64(len(l.sending.entries))
	now := o.now()
	o.remember(l, false)
	for _, e := range l.sending.entries {
		o.meters.delayed(ctx, now.Sub(e.from.stored))
		o.finish(e)
	}
	l.sending = nil
}

// remember notes what l's batch holds as sent.
func (o *outbox) remember(l *lane, unsure bool) {
	for _, e := range l.sending.entries {
		k := o.knownOf(e.item)
		k.unsure = unsure
		o.recent.put(recentKey{l.route.destination, e.state.UserID}, k)
	}
}

// finish is done with an entry.
func (o *outbox) finish(e *entry) {
	o.states--
	o.bytes -= e.bytes()
	for _, d := range e.deliveries() {
		o.close(d)
	}
}
