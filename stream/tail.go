package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// tail is what is stored already of updates that a partition's position does not
// cover: units by fast ingest that were not finished. Those updates are routed once
// more, and what is stored is left out. A nil tail is an empty one.
type tail struct {
	at      wire.Tail
	epoch   int64
	given   map[presence.UserID]given
	letters map[letterKey]bool
	ends    []uint64 // last updates of the units, in order
}

// given is what a recipient has been delivered: states of updates in order, and states
// that routers made up, which come last in a unit and are known by it alone.
type given struct {
	upTo   uint64 // last update
	unit   uint64 // last update of the last unit with states made up
	madeUp int    // of that unit
}

// letterKey tells dead letters apart.
type letterKey struct {
	sequence uint64
	time     int64
	reason   wire.Reason
	router   string
	err      string
}

func keyOf(l wire.DeadLetter) letterKey {
	return letterKey{sequence: l.Sequence, time: l.Time.UnixMilli(), reason: l.Reason, router: l.Router, err: l.Error}
}

// place returns where the tail is.
func (t *tail) place() wire.Tail {
	if t == nil {
		return wire.Tail{}
	}
	return t.at
}

// covers reports whether part of the tail is about updates behind p.
func (t *tail) covers(p position) bool {
	return t != nil && t.epoch == p.epoch && p.next() <= t.ends[len(t.ends)-1]
}

// divides reports whether a unit ended between the updates first and next: what was
// made up for one side does not stand for the other.
func (t *tail) divides(first, next update) bool {
	return t != nil && slices.ContainsFunc(t.ends, func(end uint64) bool { return first.sequence <= end && end < next.sequence })
}

// holds reports whether a dead letter is stored.
func (t *tail) holds(l wire.DeadLetter) bool { return t != nil && t.letters[keyOf(l)] }

// add notes a delivery of a unit.
func (t *tail) add(d wire.ReceivedDelivery, unit uint64) {
	g := t.given[d.Recipient]
	for _, sequence := range d.Sequences {
		if sequence > 0 {
			g.upTo = max(g.upTo, sequence)
			continue
		}
		if unit > g.unit {
			g.unit, g.madeUp = unit, 0
		}
		if unit == g.unit {
			g.madeUp++
		}
	}
	t.given[d.Recipient] = g
}

// rest returns b without the states that are stored.
func (t *tail) rest(b batch) batch {
	if t == nil || b.updates[0].epoch != t.epoch {
		return b
	}
	recipients := make([]routing.Recipient, 0, len(b.recipients))
	for _, r := range b.recipients {
		if g, known := t.given[r.UserID]; known {
			r.States = g.rest(r.States, b.updates[len(b.updates)-1].sequence)
		}
		if len(r.States) > 0 {
			recipients = append(recipients, r)
		}
	}
	b.recipients = recipients
	return b
}

// rest returns the states of a batch up to the update last that the recipient does
// not have.
func (g given) rest(states []presence.UserState, last uint64) []presence.UserState {
	var rest []presence.UserState
	madeUp := 0
	for _, s := range states {
		p := s.Published()
		if p == nil {
			madeUp++
		}
		switch {
		case p != nil && p.Position <= g.upTo:
		case p == nil && (last < g.unit || last == g.unit && madeUp <= g.madeUp):
		default:
			rest = append(rest, s)
		}
	}
	return rest
}

// tailTimeout bounds the reading of one tail.
const tailTimeout = 30 * time.Second

// tailReader reads the tails of partitions from the deliveries stream.
type tailReader struct {
	js       jetstream.JetStream
	subjects wire.Subjects
}

// read returns what is stored at a place that is about updates of a partition behind
// p; nil where there is nothing.
func (r tailReader) read(ctx context.Context, partition partitionID, p position, at wire.Tail) (*tail, error) {
	stream, err := r.js.Stream(ctx, r.subjects.DeliveriesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.subjects.DeliveriesStream(), err)
	}
	at.To = min(cmp.Or(at.To, math.MaxUint64), stream.CachedInfo().State.LastSeq)
	if planted == tailCutShort {
		at.To--
	}
	if at.To <= at.From {
		return nil, nil
	}
	found := &tail{at: at, epoch: p.epoch, given: make(map[presence.UserID]given), letters: make(map[letterKey]bool)}
	err = r.each(ctx, stream, at.From+1, at.To, func(m jetstream.Msg) { found.take(r.subjects, partition, p, m) })
	if err != nil {
		return nil, fmt.Errorf("read what is stored of partition %d behind its checkpoint: %w", partition.number, err)
	}
	if len(found.ends) == 0 {
		return nil, nil
	}
	slices.Sort(found.ends)
	found.ends = slices.Compact(found.ends)
	return found, nil
}

// take notes m where it is about updates of the partition behind p. What is not of a
// worker is passed over.
func (t *tail) take(subjects wire.Subjects, partition partitionID, p position, m jetstream.Msg) {
	source, err := wire.ParseSource(m.Headers().Get(wire.SourceHeader))
	if err != nil || source.Partition != partition.number || source.Last < p.next() {
		return
	}
	if strings.HasPrefix(m.Subject(), subjects.Dead("")) {
		l, err := wire.DecodeDeadLetter(m.Data())
		if err != nil {
			return
		}
		t.letters[keyOf(l)] = true
	} else {
		d, err := wire.DecodeDelivery(m.Data())
		if err != nil || d.Epoch != t.epoch {
			return
		}
		t.add(d, source.Last)
	}
	if !slices.Contains(t.ends, source.Last) {
		t.ends = append(t.ends, source.Last)
	}
}

// each calls visit with the messages from first to last.
func (r tailReader) each(ctx context.Context, stream jetstream.Stream, first, last uint64, visit func(jetstream.Msg)) error {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for next, pending := first, consumer.CachedInfo().NumPending; ; {
		if pending == 0 { // That count may be short while others rewrite their checkpoints.
			if more, err := r.stored(ctx, next, last); !more {
				return err
			}
		}
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream > last {
			return nil
		}
		visit(m)
		if meta.Sequence.Stream == last {
			return nil
		}
		next, pending = meta.Sequence.Stream+1, meta.NumPending
	}
}

// stored reports whether the stream has a message from first to last.
func (r tailReader) stored(ctx context.Context, first, last uint64) (bool, error) {
	deliveries := leader{nc: r.js.Conn(), stream: r.subjects.DeliveriesStream()}
	m, err := deliveries.get(ctx, getRequest{Sequence: first, NextSubject: ">"})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil && m.Sequence <= last, err
}
