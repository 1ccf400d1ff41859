package sender

import "slices"

// ack is an acknowledgement that is due.
type ack struct {
	delivery *delivery
	reply    string
}

// takeDone adds the deliveries that are done since it was called last to those that are
// pending, and leaves out what is no message of the stream any more.
func (o *outbox) takeDone(pending []ack) []ack {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.done {
		pending = append(pending, ack{delivery: d, reply: d.reply})
	}
	o.done = nil
	return slices.DeleteFunc(pending, func(a ack) bool { return a.delivery.void })
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

// before returns how many deliveries are held that are not done and were stored before
// a sequence.
func (o *outbox) before(sequence uint64) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.held {
		if d.open > 0 && d.sequence < sequence {
			n++
		}
	}
	return n
}
