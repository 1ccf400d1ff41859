package sender

import (
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// givenUp is how many states for a destination were given up.
type givenUp struct {
	route  route
	states int
}

// sweep gives up what became too old while its destination was not to be reached. It
// returns the destinations that this is new of.
func (o *outbox) sweep() []givenUp {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	var news []givenUp
	for _, l := range o.lanes {
		o.dropStale(l, now)
		if l.stale > 0 && !l.told {
			l.told = true
			news = append(news, givenUp{route: l.route, states: l.stale})
		}
		l.front()
		o.leave(l)
	}
	// After a period what was forgotten has come again, unless the server is away.
	if time.Since(o.recent.rotated) > max(recentPeriod, o.config.AckWait) && time.Since(o.heard) < o.config.AckWait {
		o.recent.rotate()
	}
	return news
}

// recentPeriod is for how long at least it is known what was sent, or the wait for an
// acknowledgement where that is longer.
const recentPeriod = time.Minute

// dropStale gives up what waits on l and is too old.
func (o *outbox) dropStale(l *lane, now time.Time) {
	for _, e := range l.waiting {
		limit := o.config.TTL
		if e.state.State == presence.Offline {
			limit = o.config.OfflineTTL
		}
		if now.Sub(e.from.stored) > limit {
			l.remove(e)
			l.stale++
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
