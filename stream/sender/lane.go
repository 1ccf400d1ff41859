package sender

import (
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/presence-router/presence-router/routing/presence"
)

// route is from whom to whom a batch goes.
type route struct {
	origin, destination presence.ServerName
}

// lane is what is to be sent on one route. It is used under the outbox's lock.
type lane struct {
	route   route
	pin     *pin // under which it is read
	waiting map[presence.UserID]*entry
	queue   []*entry // waiting ones in order of arrival, and such as are gone
	sending *sending // the batch that was handed over and may be again, nil where none

	busy     bool   // somebody has the batch in hand
	stop     func() // ends the send of it
	retry    *backoff.ExponentialBackOff
	longest  time.Duration // bound on pauses
	failures int           // since the last success
	stale    int           // states given up since then
	told     bool          // that some are
	due      time.Time     // when the next batch may be handed over
	place    int           // in the schedule, -1 where it is not in there
}

// sending is a batch and what is in it.
type sending struct {
	batch          Batch
	entries        map[presence.UserID]*entry
	mayHaveArrived bool // with an earlier try
}

// jitter has pauses be half of the longest to the longest, in the end.
const jitter = 1.0 / 3

func newLane(r route, p *pin, c Config) *lane {
	return &lane{
		route:   r,
		pin:     p,
		longest: c.LongestRetry,
		waiting: make(map[presence.UserID]*entry),
		place:   -1,
		retry: backoff.NewExponentialBackOff(backoff.WithInitialInterval(c.FirstRetry), backoff.WithMultiplier(2), backoff.WithRandomizationFactor(jitter),
			backoff.WithMaxInterval(time.Duration(float64(c.LongestRetry)/(1+jitter))), backoff.WithMaxElapsedTime(0)),
	}
}

func (l *lane) hasWork() bool { return l.sending != nil || len(l.waiting) > 0 }

// held returns how many states wait or are in the batch.
func (l *lane) held() int {
	if l.sending == nil {
		return len(l.waiting)
	}
	return len(l.waiting) + len(l.sending.entries)
}

// entries returns those that wait and those in the batch.
func (l *lane) entries() []*entry {
	all := slices.Collect(maps.Values(l.waiting))
	if l.sending != nil {
		all = slices.AppendSeq(all, maps.Values(l.sending.entries))
	}
	return all
}

// empty takes everything out, also what is in the batch, and returns it.
func (l *lane) empty() []*entry {
	all := l.entries()
	clear(l.waiting)
	l.queue, l.sending = nil, nil
	if l.busy {
		l.stop()
	}
	return all
}

// put adds an entry of a user of whom none waits.
func (l *lane) put(e *entry) {
	l.waiting[e.state.UserID] = e
	l.queue = append(l.queue, e)
}

// remove takes an entry out.
func (l *lane) remove(e *entry) {
	e.gone = true
	delete(l.waiting, e.state.UserID)
}

// front drops what is gone from the queue and returns the rest.
func (l *lane) front() []*entry {
	kept := l.queue[:0]
	for _, e := range l.queue {
		if !e.gone {
			kept = append(kept, e)
		}
	}
	clear(l.queue[len(kept):])
	l.queue = kept
	return kept
}

// requeue puts the entries of the batch before those that wait.
func (l *lane) requeue() (merged []*entry) {
	back := l.sending
	l.sending = nil
	var queue []*entry
	for _, e := range back.entries {
		if w, found := l.waiting[e.state.UserID]; found {
			w.absorb(e)
			merged = append(merged, e)
			continue
		}
		l.waiting[e.state.UserID] = e
		queue = append(queue, e)
	}
	l.queue = append(queue, l.queue...)
	return merged
}

// settled notes how handing over went and returns the pause that follows.
func (l *lane) settled(failed bool, given time.Duration) time.Duration {
	if !failed {
		l.failures = 0
		l.retry.Reset()
		if l.told {
			l.stale, l.told = 0, false
		}
		return 0
	}
	l.failures++
	return max(min(l.retry.NextBackOff(), l.longest), given)
}
