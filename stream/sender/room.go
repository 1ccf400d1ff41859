package sender

import (
	"context"
	"maps"
	"time"
)

// awaitRoom makes room where destinations that fail take too much of it, else waits
// until more may be taken over, or ctx ends.
func (o *outbox) awaitRoom(ctx context.Context) {
	for ctx.Err() == nil {
		o.relieve()
		full, room := o.full()
		if !full {
			return
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// full reports whether no more is to be taken over, and returns what is closed when
// that may have changed.
func (o *outbox) full() (bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.exceeded(len(o.held)), o.room
}

// exceeded reports whether what is held, with that many deliveries, is all there is
// room for.
func (o *outbox) exceeded(deliveries int) bool {
	return o.states >= o.config.MaxStates || deliveries >= o.config.MaxStates || o.bytes >= o.config.MaxBytes
}

// relieve makes room where none is left, at the expense of destinations that fail:
// what newer states stand for is done, then those that have most leave some to the
// server, which delivers it again after the wait for its acknowledgement.
func (o *outbox) relieve() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.exceeded(len(o.held)) {
		return
	}
	for _, l := range o.lanes {
		if l.failures > 0 {
			o.doneWithMerged(l)
		}
	}
	for o.exceeded(o.open) {
		l, waiting, others := o.failing()
		if waiting <= others {
			return // Destinations that work will make room.
		}
		queue := l.front()
		for _, e := range queue[len(queue)/2:] {
			l.remove(e)
			o.leaveToServer(e)
		}
	}
}

func (o *outbox) doneWithMerged(l *lane) {
	for _, e := range l.entries() {
		for _, d := range e.merged {
			o.close(d)
		}
		e.merged = nil
	}
}

// failing returns the failing lane that most states wait on, how many wait on all such
// lanes, and how many are held for other destinations.
func (o *outbox) failing() (largest *lane, waiting, others int) {
	others = o.states
	for _, l := range o.lanes {
		if l.failures == 0 {
			continue
		}
		if largest == nil || len(l.waiting) > len(largest.waiting) {
			largest = l
		}
		waiting += len(l.waiting)
		others -= l.held()
	}
	return largest, waiting, others
}

// leaveToServer lets go of an entry without being done with it.
func (o *outbox) leaveToServer(e *entry) {
	o.states--
	o.bytes -= e.bytes()
	o.became[deferred]++
	for _, d := range e.deliveries() {
		if o.held[d.sequence] == d {
			delete(o.held, d.sequence)
			o.invalidate(d)
		}
	}
}

// invalidate has d not be acknowledged.
func (o *outbox) invalidate(d *delivery) {
	d.void = true
	o.bytes -= deliveryBytes
	if d.open > 0 {
		o.open--
	}
}

// left tells those who wait for room.
func (o *outbox) left() {
	close(o.room)
	o.room = make(chan struct{})
}

// ack is an acknowledgement that is due.
type ack struct {
	delivery *delivery
	reply    string
}

// takeDone returns the deliveries that are done since it was called last.
func (o *outbox) takeDone() []ack {
	o.mu.Lock()
	defer o.mu.Unlock()
	acks := make([]ack, len(o.done))
	for i, d := range o.done {
		acks[i] = ack{delivery: d, reply: d.reply}
	}
	o.done = nil
	return acks
}

// forget lets go of deliveries that the server knows to be done.
func (o *outbox) forget(acks []ack) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range acks {
		if o.held[a.delivery.sequence] == a.delivery && a.delivery.reply == a.reply {
			delete(o.held, a.delivery.sequence)
			o.bytes -= deliveryBytes
		}
	}
	o.left()
}

// replies returns where the server hears of the deliveries that are held.
func (o *outbox) replies() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	replies := make([]string, 0, len(o.held))
	for _, d := range o.held {
		if d.open > 0 {
			replies = append(replies, d.reply)
		}
	}
	return replies
}

// sweep gives up what became too old while its destination was not to be reached.
func (o *outbox) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for _, l := range o.lanes {
		o.dropStale(l, now)
		l.front()
		o.leave(l)
	}
	if time.Since(o.rotated) > recentPeriod {
		o.recent.rotate()
		o.rotated = time.Now()
	}
}

// recentPeriod is for how long at least it is known what was sent.
const recentPeriod = time.Minute

func (o *outbox) counts() counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := counts{
		states: int64(o.states), deliveries: int64(len(o.held)),
		stateOutcomes: maps.Clone(o.became), batchOutcomes: maps.Clone(o.handed),
	}
	for _, l := range o.lanes {
		if l.hasWork() {
			c.destinations++
		}
		if l.failures > 0 {
			c.failing++
		}
	}
	return c
}
