package sender

import (
	"crypto/rand"
	"strconv"

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
		o.remember(l, true) // It may have arrived: nothing older is sent.
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
	for _, e := range l.requeue() {
		o.became[merged]++
		o.states--
		o.bytes -= e.bytes()
	}
}
