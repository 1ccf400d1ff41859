package sender

import "time"

// pin is the server's word that this sender is the one that reads a part. The server
// gives it to another sender when this one has asked for nothing for ttl. What was read
// under a pin that is lost is forgotten: it comes again, to the sender that reads then.
// A pin is used under the outbox's lock.
type pin struct {
	ttl       time.Duration
	until     time.Time   // another sender may read from then on
	expiry    *time.Timer // forgets then, also where all sends hang
	forgotten int         // states, since somebody asked
}

func (p *pin) holds(now time.Time) bool { return now.Before(p.until) }

// confirm notes that the server has answered what it was asked at a time: that pin is
// valid for its ttl from then on, at least.
func (o *outbox) confirm(p *pin, asked time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = time.Now()
	if !p.holds(o.heard) {
		o.forgetRead(p)
	}
	if until := asked.Add(p.ttl); until.After(p.until) {
		p.until = until
	}
	if p.expiry == nil {
		p.expiry = time.AfterFunc(time.Until(p.until), func() { o.expire(p) })
		return
	}
	p.expiry.Reset(time.Until(p.until))
}

func (o *outbox) expire(p *pin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !p.holds(time.Now()) {
		o.forgetRead(p)
	}
}

// lose notes that another sender may have the pin.
func (o *outbox) lose(p *pin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.until = time.Time{}
	o.forgetRead(p)
}

// release has p not expire any more.
func (o *outbox) release(p *pin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.expiry != nil {
		p.expiry.Stop()
	}
}

// takeForgotten returns how many states were forgotten since it was called last.
func (o *outbox) takeForgotten(p *pin) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := p.forgotten
	p.forgotten = 0
	return n
}

// forgetRead lets go of all states read under p, and has sends under way stop. What is
// sent and not acknowledged stays. A batch that may have arrived is remembered, so that
// nothing older than that is sent when all comes again.
func (o *outbox) forgetRead(p *pin) {
	for _, l := range o.lanes {
		if l.pin != p {
			continue
		}
		if l.sending != nil && (l.busy || l.sending.mayHaveArrived) {
			o.remember(l, true)
		}
		entries := l.empty()
		for _, e := range entries {
			o.leaveToServer(e)
		}
		p.forgotten += len(entries)
		o.leave(l)
	}
	o.left()
}

// begin notes what stops the send of l's batch.
func (o *outbox) begin(l *lane, stop func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l.stop = stop
	if l.sending == nil {
		stop() // It was forgotten meanwhile.
	}
}
