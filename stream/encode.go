package stream

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// headerRoom is what the headers of a message may take of the server's maximum
// payload.
const headerRoom = 4 << 10

// maxUnitMessages leaves room for the checkpoint in an atomic batch.
const maxUnitMessages = maxBatchMessages - 1

// maxUnitBytes bounds the data of a unit, but for what one update has for one
// recipient, and so the memory that staged units take.
const maxUnitBytes = 4 << 20

// encoder makes units of batches that are routed.
type encoder struct {
	subjects   wire.Subjects
	isLocal    func(presence.ServerName) bool
	config     DeliveriesConfig
	coalesce   bool
	tail       *tail // what is stored already
	maxPayload int   // bytes of data that the server takes in one message
	maxBytes   int   // of the data of a unit
	traces     traces
}

// units yields b as units that each fit one atomic batch, in order: cut between
// updates, and within one update that has more recipients than fit, between
// recipients.
func (e *encoder) units(b batch) iter.Seq[unit] {
	return func(yield func(unit) bool) {
		e.traces.commit(b)
		e.split(e.tail.rest(e.coalesced(b)), yield)
	}
}

func (e *encoder) split(b batch, yield func(unit) bool) bool {
	if u, fits := e.fit(b); fits {
		return e.hand(b, u, yield)
	}
	if len(b.updates) == 1 {
		return e.slices(b, yield)
	}
	for _, part := range b.cut(fitting(len(b.updates), len(b.recipients)+len(b.letters))) {
		if !e.split(part, yield) {
			return false
		}
	}
	return true
}

// fitting returns how many of a batch's updates likely fit one unit: at least one,
// and not all. Where it is not for the number of messages, that is half of them.
func fitting(updates, messages int) int {
	if messages <= maxUnitMessages {
		return updates / 2
	}
	return max(1, min(updates-1, updates*maxUnitMessages/max(messages, 1)))
}

// hand yields a unit that covers b, with the commit spans of its updates.
func (e *encoder) hand(b batch, u unit, yield func(unit) bool) bool {
	u.spans = b.spans()
	return yield(u)
}

// fit encodes b and reports whether it fits one atomic batch.
func (e *encoder) fit(b batch) (unit, bool) {
	if len(b.recipients)+len(b.letters) > maxUnitMessages {
		return unit{}, false
	}
	u := e.unit(b)
	whole := len(b.updates) == 1 && len(b.recipients) <= 1
	return u, len(u.messages) <= maxUnitMessages && (u.bytes <= e.maxBytes || whole)
}

// slices yields a batch of one update in slices of its recipients. Each but the
// last names the recipient it goes up to; the dead letters go with the last.
func (e *encoder) slices(b batch, yield func(unit) bool) bool {
	for rest := b; ; {
		part, u := e.slice(rest)
		rest.recipients = rest.recipients[len(part.recipients):]
		if len(rest.recipients) == 0 {
			return e.hand(part, u, yield)
		}
		u.updates, u.refused = nil, 0
		u.upTo.after = part.recipients[len(part.recipients)-1].UserID
		if !yield(u) {
			return false
		}
	}
}

// slice encodes as many of the first recipients of b as fit one atomic batch, at
// least one. What one recipient gets is never cut, so that it is committed whole.
func (e *encoder) slice(b batch) (batch, unit) {
	part := b
	for n := min(len(b.recipients), maxUnitMessages-len(b.letters)); ; n /= 2 {
		part.recipients = b.recipients[:n]
		part.letters = nil
		if n == len(b.recipients) {
			part.letters = b.letters
		}
		u, fits := e.fit(part)
		if fits {
			return part, u
		}
		if n == 1 {
			return part, e.tooMany(part, len(u.messages))
		}
	}
}

// tooMany makes a dead letter of an update for which a router made up more for
// one recipient than the server takes at once.
func (e *encoder) tooMany(b batch, messages int) unit {
	r := b.recipients[0]
	b.recipients = nil
	b.letters = append(slices.Clip(b.letters), letter{
		update: b.updates[0], reason: wire.RouterFailed, router: strings.Join(r.Routers(), ","),
		err: fmt.Errorf("%d messages for %s: at most %d are allowed", messages, r.UserID, maxUnitMessages),
	})
	return e.unit(b)
}

// unit encodes a batch whole.
func (e *encoder) unit(b batch) unit {
	last := b.updates[len(b.updates)-1]
	u := unit{upTo: last.done(), messages: make([]message, 0, len(b.recipients)+len(b.letters))}
	for _, done := range b.updates {
		u.updates = append(u.updates, done.time)
	}
	for _, sequence := range b.refused {
		if !slices.ContainsFunc(b.letters, func(l letter) bool { return l.update.sequence == sequence }) {
			u.refused++
		}
	}
	source := wire.Source{Partition: b.partition, First: b.updates[0].sequence, Last: last.sequence}.String()
	letters := slices.Clip(b.letters)
	data := make([]byte, 0, b.estimate())
	for _, r := range b.recipients {
		var oversized *letter
		data, oversized = e.deliveries(&u, data, b, r, source)
		if oversized != nil {
			letters = append(letters, *oversized)
		}
	}
	if len(letters) > 0 { // First, so that they are stored where a delivery is.
		u.messages = append(e.letters(&u, letters, source), u.messages...)
	}
	return u
}

// estimate returns about how many bytes the deliveries of b have.
func (b batch) estimate() int {
	const envelope, state = 128, 256
	bytes := 0
	for _, r := range b.recipients {
		bytes += envelope + len(r.States)*state
	}
	return bytes
}

// deliveries appends what one recipient gets to u, and its encoding to data. The
// letter is about what is too large for the server and left out, nil for nothing.
func (e *encoder) deliveries(u *unit, data []byte, b batch, r routing.Recipient, source string) ([]byte, *letter) {
	var oversized *letter
	subject := e.subject(r.UserID)
	whole := wire.Delivery{Recipient: r.UserID, Epoch: u.upTo.epoch, States: r.States}
	for part := range whole.Split(e.config.MaxDeliveryBytes) {
		start := len(data)
		data = wire.AppendDelivery(data, part)
		encoded := data[start:len(data):len(data)]
		if len(encoded) > e.maxPayload {
			oversized = &letter{
				update: b.updateOf(part.States), reason: wire.RouterFailed, router: strings.Join(r.Routers(), ","),
				err: fmt.Errorf("delivery to %s has %d bytes: the server takes at most %d", r.UserID, len(encoded), e.maxPayload),
			}
			continue
		}
		u.messages = append(u.messages, message{subject: subject, data: encoded, source: source, trace: b.trace(part.States)})
		u.bytes += len(encoded)
	}
	return data, oversized
}

// updateOf returns the update that the last of states was made of, or the last one of
// the batch where a router made the state up.
func (b batch) updateOf(states []presence.UserState) update {
	if p := states[len(states)-1].Published(); p != nil {
		for _, u := range b.updates {
			if u.sequence == p.Position {
				return u
			}
		}
	}
	return b.updates[len(b.updates)-1]
}

func (e *encoder) subject(recipient presence.UserID) string {
	scope := wire.Remote
	if e.isLocal(recipient.Server()) {
		scope = wire.Local
	}
	return e.subjects.Delivery(scope, wire.Shard(scope, recipient, e.config.Shards), recipient)
}

// coalesced returns b with the newest state per user for each recipient, where that
// is configured.
func (e *encoder) coalesced(b batch) batch {
	if !e.coalesce {
		return b
	}
	b.recipients = slices.Clone(b.recipients)
	for i, r := range b.recipients {
		b.recipients[i].States = newestPerUser(r.States)
	}
	return b
}

// newestPerUser returns the last state of each user, in order. States a router made up
// come last and count as the newest.
func newestPerUser(states []presence.UserState) []presence.UserState {
	last := make(map[presence.UserID]int, len(states))
	for i, s := range states {
		last[s.UserID] = i
	}
	if len(last) == len(states) {
		return states
	}
	kept := make([]presence.UserState, 0, len(last))
	for i, s := range states {
		if last[s.UserID] == i {
			kept = append(kept, s)
		}
	}
	return kept
}

// letters counts letters in u and returns their messages, but for those that are
// stored already.
func (e *encoder) letters(u *unit, letters []letter, source string) []message {
	messages := make([]message, 0, len(letters)+len(u.messages))
	for _, l := range letters {
		dead := wire.DeadLetter{
			Reason: l.reason, Error: l.err.Error(), Router: l.router,
			Subject: e.frontDoor(l.update.subject), Sequence: l.update.sequence,
			Time: l.update.time.UTC().Truncate(time.Millisecond), Headers: l.update.header, Payload: l.update.data,
		}
		if e.tail.holds(dead) {
			continue
		}
		data := dead.Encode(e.maxPayload)
		messages = append(messages, message{subject: e.subjects.Dead(l.reason), data: data, source: source})
		u.bytes += len(data)
		if u.dead == nil {
			u.dead = make(map[wire.Reason]int64)
		}
		u.dead[l.reason]++
	}
	return messages
}

// frontDoor returns the subject that an update was published to.
func (e *encoder) frontDoor(stored string) string {
	if front, ok := e.subjects.FrontDoor(stored); ok {
		return front
	}
	return stored
}
