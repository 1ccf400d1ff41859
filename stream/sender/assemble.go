package sender

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// namer makes the IDs of batches, unique over restarts.
type namer struct {
	prefix string
	next   uint64
}

func newNamer() *namer { return &namer{prefix: rand.Text()[:12] + "-"} }

func (n *namer) name() string {
	n.next++
	return n.prefix + strconv.FormatUint(n.next, 10)
}

// assemble has l's batch ready, the last one again where that may have arrived. It
// returns false where nothing is left to send.
func (o *outbox) assemble(l *lane) bool {
	now := o.now()
	if l.sending != nil && now.Sub(l.sending.batch.Time) > o.config.TTL {
		o.takeBack(l)
	}
	if l.sending != nil {
		return true
	}
	o.dropStale(l, now)
	queue := l.front()
	all, taken := contents(queue, o.config.MaxEDUs, now)
	if taken == 0 {
		return false
	}
	l.sending = &sending{entries: make(map[presence.UserID]*entry, taken), batch: Batch{
		ID: o.names.name(), Origin: l.route.origin, Destination: l.route.destination,
		Time: now, Contents: all, States: taken,
	}}
	for _, e := range queue[:taken] {
		l.sending.entries[e.state.UserID] = e
		delete(l.waiting, e.state.UserID)
	}
	clear(queue[:taken])
	l.queue = queue[taken:]
	return true
}

// takeBack gives the batch of l up: what was in it waits again.
func (o *outbox) takeBack(l *lane) {
	for _, e := range l.takeBack() {
		o.became[merged]++
		o.states--
		o.bytes -= e.bytes()
	}
}

// settle notes how sending l's batch went, and returns how often it had failed
// before.
func (o *outbox) settle(ctx context.Context, l *lane, err error) (failures int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.busy, failures = false, l.failures
	what := batchOutcome(err)
	o.handed[what]++
	switch {
	case l.sending == nil: // It was forgotten, and the send stopped.
		o.plan(l)
		o.leave(l)
		return failures
	case what == sent:
		o.sent(ctx, l)
	case what == unsent:
		o.takeBack(l)
	}
	given := time.Duration(0)
	if told, ok := errors.AsType[*RetryAfter](err); ok {
		given = min(told.After, longestGiven)
	}
	l.due = time.Now().Add(l.settled(err != nil, given))
	o.plan(l)
	o.leave(l)
	o.left()
	return failures
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
	for _, e := range l.sending.entries {
		o.meters.delayed(ctx, now.Sub(e.from.stored))
		o.recent.put(recentKey{l.route.destination, e.state.UserID}, o.known(e.item))
		o.finish(e)
	}
	l.sending = nil
}

// finish is done with an entry.
func (o *outbox) finish(e *entry) {
	o.states--
	o.bytes -= e.bytes()
	for _, d := range e.deliveries() {
		o.close(d)
	}
}

// dropStale gives up what waits on l and is too old.
func (o *outbox) dropStale(l *lane, now time.Time) {
	for _, e := range l.waiting {
		limit := o.config.TTL
		if e.state.State == presence.Offline {
			limit = o.config.OfflineTTL
		}
		if now.Sub(e.from.stored) > limit {
			l.remove(e)
			o.became[stale]++
			o.finish(e)
			continue
		}
		o.dropMerged(e, now)
	}
}

// dropMerged is done with deliveries that would be too old to be sent, though a newer
// state stands for them.
func (o *outbox) dropMerged(e *entry, now time.Time) {
	kept := e.merged[:0]
	for _, d := range e.merged {
		if now.Sub(d.stored) > o.config.TTL {
			o.close(d)
			continue
		}
		kept = append(kept, d)
	}
	clear(e.merged[len(kept):])
	e.merged = kept
}
