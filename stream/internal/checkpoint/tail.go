package checkpoint

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

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/wire"
)

// Tail is what is stored already of updates that a partition's position does not
// cover: units by fast ingest that were not finished. Those updates are routed once
// more, and what is stored is left out. A nil tail is an empty one.
type Tail struct {
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

// Place returns where the tail is.
func (t *Tail) Place() wire.Tail {
	if t == nil {
		return wire.Tail{}
	}
	return t.at
}

// Covers reports whether part of the tail is about updates behind p.
func (t *Tail) Covers(p Position) bool {
	return t != nil && t.epoch == p.Epoch && p.Next() <= t.ends[len(t.ends)-1]
}

// Divides reports whether a unit ended between the updates first and next: what was
// made up for one side does not stand for the other.
func (t *Tail) Divides(first, next uint64) bool {
	return t != nil && slices.ContainsFunc(t.ends, func(end uint64) bool { return first <= end && end < next })
}

// Holds reports whether a dead letter is stored.
func (t *Tail) Holds(l wire.DeadLetter) bool { return t != nil && t.letters[keyOf(l)] }

// add notes a delivery of a unit.
func (t *Tail) add(d wire.ReceivedDelivery, unit uint64) {
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

// SpeaksOf reports whether something may be stored of updates of an epoch.
func (t *Tail) SpeaksOf(epoch int64) bool { return t != nil && t.epoch == epoch }

// Rest returns the states of a batch up to the update last that recipient does not have.
func (t *Tail) Rest(recipient presence.UserID, states []presence.UserState, last uint64) []presence.UserState {
	g, known := t.given[recipient]
	if !known {
		return states
	}
	return g.rest(states, last)
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

const (
	tailTimeout = 30 * time.Second // for the reading of one tail
	tailAhead   = 512              // messages asked for at once
)

// ReadTail returns what is stored at a place that is about updates of a partition behind
// p; nil where there is nothing.
func (c Store) ReadTail(ctx context.Context, partition deployment.Partition, p Position, at wire.Tail) (*Tail, error) {
	stream, err := c.js.Stream(ctx, c.subjects.DeliveriesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", c.subjects.DeliveriesStream(), err)
	}
	at.To = min(cmp.Or(at.To, math.MaxUint64), stream.CachedInfo().State.LastSeq)
	if planted.Mistake == planted.TailCutShort {
		at.To--
	}
	if at.To <= at.From {
		return nil, nil
	}
	found := &Tail{at: at, epoch: p.Epoch, given: make(map[presence.UserID]given), letters: make(map[letterKey]bool)}
	err = c.each(ctx, stream, at.From+1, at.To, func(m jetstream.Msg) { found.take(c.subjects, partition, p, m) })
	if err != nil {
		return nil, fmt.Errorf("read what is stored of partition %d behind its checkpoint: %w", partition.Number, err)
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
func (t *Tail) take(subjects wire.Subjects, partition deployment.Partition, p Position, m jetstream.Msg) {
	source, err := wire.ParseSource(m.Headers().Get(wire.SourceHeader))
	if err != nil || source.Partition != partition.Number || source.Last < p.Next() {
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
func (c Store) each(ctx context.Context, stream jetstream.Stream, first, last uint64, visit func(jetstream.Msg)) error {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(tailAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for next, pending := first, consumer.CachedInfo().NumPending; ; {
		if pending == 0 { // That count may be short while others rewrite their checkpoints.
			if more, err := c.stored(ctx, next, last); !more {
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
func (c Store) stored(ctx context.Context, first, last uint64) (bool, error) {
	m, err := c.deliveries.Get(ctx, jsapi.MessageRequest{Sequence: first, NextSubject: ">"})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil && m.Sequence <= last, err
}
