package sender

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// outbox holds what is to be sent, and which deliveries it came with.
type outbox struct {
	config  Config
	origins map[presence.ServerName]bool
	now     func() time.Time // for ages; the schedule has the real time
	meters  *telemetry
	seed    maphash.Seed
	names   *namer

	mu       sync.Mutex
	held     map[uint64]*delivery // by sequence, until the server knows that they are done
	open     int                  // those of held that are not done
	done     []*delivery          // to be acknowledged
	lanes    map[route]*lane
	schedule schedule
	recent   recent
	heard    time.Time      // when the server confirmed a pin last
	working  map[route]bool // that were sent on; bounded
	states   int
	bytes    int64
	became   tally // states
	handed   tally // batches

	room chan struct{} // closed when something left

	wake signal // a lane was put into the schedule
	acks signal // something was put into done
}

func newOutbox(c Config, now func() time.Time, meters *telemetry) *outbox {
	o := &outbox{
		config: c, now: now, meters: meters, seed: maphash.MakeSeed(), names: newNamer(),
		origins: make(map[presence.ServerName]bool),
		held:    make(map[uint64]*delivery), lanes: make(map[route]*lane), recent: newRecent(c.MaxStates),
		became: make(tally), handed: make(tally), working: make(map[route]bool),
		room: make(chan struct{}), wake: newSignal(), acks: newSignal(),
	}
	for _, origin := range c.Origins {
		o.origins[origin] = true
	}
	return o
}

// add takes a delivery over. One that is held already came again: its later reply
// subject counts. Another one with its sequence means that the stream was made anew.
func (o *outbox) add(d *delivery, received wire.ReceivedDelivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if have, found := o.held[d.sequence]; found {
		if have.stored.Equal(d.stored) {
			have.reply = d.reply
			o.finishIfDone(have)
			return
		}
		o.invalidate(have)
	}
	o.held[d.sequence] = d
	o.bytes += deliveryBytes
	o.open++
	d.open = 1 // until all its states are taken over
	for i, state := range received.States {
		d.open++
		o.addState(received.Recipient, item{
			state:   state.Content(),
			version: version{epoch: received.Epoch, sequence: received.Sequences[i], delivery: d.sequence},
			replay:  d.replay,
			from:    d,
		})
	}
	o.close(d)
}

func (o *outbox) addState(recipient presence.UserID, i item) {
	origin := i.state.UserID.Server()
	if !o.origins[origin] || len(i.state.State) > maxStateBytes {
		o.became[unsendable]++
		o.close(i.from)
		return
	}
	r := route{origin: origin, destination: recipient.Server()}
	l := o.lane(r, i.from.pin)
	content := maphash.Comparable(o.seed, i.state)
	if o.covered(l, i, content) {
		o.leave(l)
		return
	}
	if w, found := l.waiting[i.state.UserID]; found {
		o.bytes -= w.bytes()
		w.merge(i)
		o.bytes += w.bytes()
		o.became[merged]++
	} else {
		l.put(&entry{item: i})
		o.states++
		o.bytes += i.bytes()
	}
	o.plan(l)
}

// covered reports whether nothing of i is left to send, and then has its delivery
// done with what was sent, or is being sent, in its stead.
func (o *outbox) covered(l *lane, i item, content uint64) bool {
	if l.sending != nil {
		if e, found := l.sending.entries[i.state.UserID]; found && o.knownOf(e.item).covers(i, content) {
			e.standFor(i)
			o.became[merged]++
			return true
		}
	}
	k, found := o.recent.get(recentKey{l.route.destination, i.state.UserID})
	if !found || !k.covers(i, content) {
		return false
	}
	o.became[merged]++
	o.close(i.from)
	return true
}

func (o *outbox) lane(r route, p *pin) *lane {
	l, found := o.lanes[r]
	if !found {
		l = newLane(r, p, o.config)
		o.lanes[r] = l
	}
	return l
}

// plan has l in the schedule where there is something to hand over.
func (o *outbox) plan(l *lane) {
	if l.busy || l.place >= 0 || !l.hasWork() {
		return
	}
	o.schedule.push(l)
	o.wake.raise()
}

// close notes that one state of d is sent or given up.
func (o *outbox) close(d *delivery) {
	d.open--
	if d.open == 0 && !d.void {
		o.open--
	}
	o.finishIfDone(d)
}

func (o *outbox) finishIfDone(d *delivery) {
	if d.open == 0 && !d.void {
		o.done = append(o.done, d)
		o.acks.raise()
	}
}

// next waits for a batch that is due; false where ctx ends first.
func (o *outbox) next(ctx context.Context) (*lane, Batch, bool) {
	for ctx.Err() == nil {
		l, batch, wait := o.take()
		if l != nil {
			return l, batch, true
		}
		o.wake.await(ctx, wait)
	}
	return nil, Batch{}, false
}

// take returns the batch that is due, else how long to wait.
func (o *outbox) take() (*lane, Batch, time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		now := time.Now()
		l, wait := o.schedule.pop(now)
		if l == nil {
			return nil, Batch{}, wait
		}
		if !l.pin.holds(now) {
			o.forgetRead(l.pin)
			continue
		}
		if o.assemble(l) {
			l.busy, l.stop = true, func() {}
			return l, l.sending.batch, 0
		}
		o.leave(l)
	}
}

// leave forgets a lane that has neither work nor a failure to remember.
func (o *outbox) leave(l *lane) {
	if !l.busy && !l.hasWork() && (l.stale == 0 || l.told) && (l.failures == 0 || time.Since(l.due) > o.config.LongestRetry) {
		if l.place >= 0 {
			o.schedule.remove(l)
		}
		delete(o.lanes, l.route)
	}
}
