package route

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxUnitMessages leaves room for the checkpoint in an atomic batch.
const maxUnitMessages = batchpublish.MaxMessages - 1

// Encoder makes units of batches that are routed.
type Encoder struct {
	Subjects    wire.Subjects
	IsLocal     func(presence.ServerName) bool
	Shards      int
	Coalesce    bool                // keep only the newest state per user in one delivery
	Half        checkpoint.Position // of the claim: it may be amid an update
	Tail        *checkpoint.Tail    // what is stored already behind it
	MaxDelivery int                 // bytes; a larger delivery is split
	MaxPayload  int                 // bytes of data that the server takes in one message
	MaxBytes    int                 // of the data of a unit
	Tracer      trace.Tracer
}

// Units yields b as units that each fit one atomic batch, in order: cut between
// updates, and within one update that has more recipients than fit, between
// recipients.
func (e *Encoder) Units(b Batch) iter.Seq[commit.Unit] {
	return func(yield func(commit.Unit) bool) {
		traces{e.Tracer}.commit(b)
		e.split(e.rest(e.coalesced(b)), yield)
	}
}

// rest returns b without what is stored already.
func (e *Encoder) rest(b Batch) Batch {
	if e.Half.Amid(b.updates[0].Epoch, b.updates[0].Sequence) {
		b.recipients = behind(b.recipients, e.Half.After)
	}
	if !e.Tail.SpeaksOf(b.updates[0].Epoch) {
		return b
	}
	recipients := make([]routing.Recipient, 0, len(b.recipients))
	for _, r := range b.recipients {
		r.States = e.Tail.Rest(r.UserID, r.States, b.updates[len(b.updates)-1].Sequence)
		if len(r.States) > 0 {
			recipients = append(recipients, r)
		}
	}
	b.recipients = recipients
	return b
}

// behind returns the recipients after the given one; they are in order.
func behind(recipients []routing.Recipient, after presence.UserID) []routing.Recipient {
	from, found := slices.BinarySearchFunc(recipients, after, func(r routing.Recipient, id presence.UserID) int {
		return r.UserID.Compare(id)
	})
	if found {
		from++
	}
	return recipients[from:]
}

func (e *Encoder) split(b Batch, yield func(commit.Unit) bool) bool {
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
func (e *Encoder) hand(b Batch, u commit.Unit, yield func(commit.Unit) bool) bool {
	u.Spans = b.spans()
	return yield(u)
}

// fit encodes b and reports whether it fits one atomic batch.
func (e *Encoder) fit(b Batch) (commit.Unit, bool) {
	if len(b.recipients)+len(b.letters) > maxUnitMessages {
		return commit.Unit{}, false
	}
	u := e.unit(b)
	whole := len(b.updates) == 1 && len(b.recipients) <= 1
	return u, len(u.Messages) <= maxUnitMessages && (u.Bytes <= e.MaxBytes || whole)
}

// slices yields a batch of one update in slices of its recipients. Each but the
// last names the recipient it goes up to; the dead letters go with the last.
func (e *Encoder) slices(b Batch, yield func(commit.Unit) bool) bool {
	for rest := b; ; {
		part, u := e.slice(rest)
		rest.recipients = rest.recipients[len(part.recipients):]
		if len(rest.recipients) == 0 {
			return e.hand(part, u, yield)
		}
		u.Updates, u.Refused = nil, 0
		u.UpTo.After = part.recipients[len(part.recipients)-1].UserID
		if !yield(u) {
			return false
		}
	}
}

// slice encodes as many of the first recipients of b as fit one atomic batch, at
// least one. What one recipient gets is never cut, so that it is committed whole.
func (e *Encoder) slice(b Batch) (Batch, commit.Unit) {
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
			return part, e.tooMany(part, len(u.Messages))
		}
	}
}

// tooMany makes a dead letter of an update for which a router made up more for
// one recipient than the server takes at once.
func (e *Encoder) tooMany(b Batch, messages int) commit.Unit {
	r := b.recipients[0]
	b.recipients = nil
	b.letters = append(slices.Clip(b.letters), letter{
		update: b.updates[0], reason: wire.RouterFailed, router: strings.Join(r.Routers(), ","),
		err: fmt.Errorf("%d messages for %s: at most %d are allowed", messages, r.UserID, maxUnitMessages),
	})
	return e.unit(b)
}

// unit encodes a batch whole.
func (e *Encoder) unit(b Batch) commit.Unit {
	last := b.updates[len(b.updates)-1]
	u := commit.Unit{UpTo: last.Done(), Messages: make([]batchpublish.Message, 0, len(b.recipients)+len(b.letters))}
	for _, done := range b.updates {
		u.Updates = append(u.Updates, done.Time)
	}
	for _, sequence := range b.refused {
		if !slices.ContainsFunc(b.letters, func(l letter) bool { return l.update.Sequence == sequence }) {
			u.Refused++
		}
	}
	source := wire.Source{Partition: b.partition, First: b.updates[0].Sequence, Last: last.Sequence}.String()
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
		u.Messages = append(e.letters(&u, letters, source), u.Messages...)
	}
	return u
}

// estimate returns about how many bytes the deliveries of b have.
func (b Batch) estimate() int {
	const envelope, state = 128, 256
	bytes := 0
	for _, r := range b.recipients {
		bytes += envelope + len(r.States)*state
	}
	return bytes
}

// deliveries appends what one recipient gets to u, and its encoding to data. The
// letter is about what is too large for the server and left out, nil for nothing.
func (e *Encoder) deliveries(u *commit.Unit, data []byte, b Batch, r routing.Recipient, source string) ([]byte, *letter) {
	var oversized *letter
	subject := e.Subjects.DeliveryTo(r.UserID, e.IsLocal(r.UserID.Server()), e.Shards)
	whole := wire.Delivery{Recipient: r.UserID, Epoch: u.UpTo.Epoch, States: r.States}
	for part := range whole.Split(e.MaxDelivery) {
		start := len(data)
		data = wire.AppendDelivery(data, part)
		encoded := data[start:len(data):len(data)]
		if len(encoded) > e.MaxPayload {
			oversized = &letter{
				update: b.updateOf(part.States), reason: wire.RouterFailed, router: strings.Join(r.Routers(), ","),
				err: fmt.Errorf("delivery to %s has %d bytes: the server takes at most %d", r.UserID, len(encoded), e.MaxPayload),
			}
			continue
		}
		u.Messages = append(u.Messages, batchpublish.Message{Subject: subject, Data: encoded, Source: source, Trace: b.trace(part.States)})
		u.Bytes += len(encoded)
	}
	return data, oversized
}

// updateOf returns the update that the last of states was made of, or the last one of
// the batch where a router made the state up.
func (b Batch) updateOf(states []presence.UserState) updates.Update {
	if p := states[len(states)-1].Published(); p != nil {
		for _, u := range b.updates {
			if u.Sequence == p.Position {
				return u
			}
		}
	}
	return b.updates[len(b.updates)-1]
}

// coalesced returns b with the newest state per user for each recipient, where that
// is configured.
func (e *Encoder) coalesced(b Batch) Batch {
	if !e.Coalesce {
		return b
	}
	b.recipients = slices.Clone(b.recipients)
	for i, r := range b.recipients {
		b.recipients[i].States = routing.NewestPerUser(r.States)
	}
	return b
}

// letters counts letters in u and returns their messages, but for those that are
// stored already.
func (e *Encoder) letters(u *commit.Unit, letters []letter, source string) []batchpublish.Message {
	messages := make([]batchpublish.Message, 0, len(letters)+len(u.Messages))
	for _, l := range letters {
		dead := wire.DeadLetter{
			Reason: l.reason, Error: l.err.Error(), Router: l.router,
			Subject: e.frontDoor(l.update.Subject), Sequence: l.update.Sequence,
			Time: l.update.Time.UTC().Truncate(time.Millisecond), Headers: l.update.Header, Payload: l.update.Data,
		}
		if e.Tail.Holds(dead) {
			continue
		}
		data := dead.Encode(e.MaxPayload)
		messages = append(messages, batchpublish.Message{Subject: e.Subjects.Dead(l.reason), Data: data, Source: source})
		u.Bytes += len(data)
		if u.Dead == nil {
			u.Dead = make(map[wire.Reason]int64)
		}
		u.Dead[l.reason]++
	}
	return messages
}

// frontDoor returns the subject that an update was published to.
func (e *Encoder) frontDoor(stored string) string {
	if front, ok := e.Subjects.FrontDoor(stored); ok {
		return front
	}
	return stored
}
