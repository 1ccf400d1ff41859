package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// tail is what is stored already of updates that a partition's position does not
// cover: a unit by fast ingest that was not finished. Those updates are routed once
// more, and what is stored is left out. A nil tail is an empty one.
type tail struct {
	from    uint64 // sequence in the deliveries stream behind which it begins
	last    uint64 // sequence of the last update it is about
	epoch   int64
	given   map[presence.UserID]given
	letters map[uint64]bool // updates that a dead letter is about
}

// given is what a recipient has been delivered: states of updates in order, then
// states that routers made up.
type given struct {
	upTo   uint64 // sequence of the last update
	madeUp int
}

// covers reports whether part of the tail is about updates behind p.
func (t *tail) covers(p position) bool {
	return t != nil && t.epoch == p.epoch && p.next() <= t.last
}

// ends reports whether the tail ends between the updates first and next: what is made
// up for one side does not stand for the other.
func (t *tail) ends(first, next update) bool {
	return t != nil && first.sequence <= t.last && t.last < next.sequence
}

// add notes a delivery.
func (t *tail) add(d wire.ReceivedDelivery) {
	g := t.given[d.Recipient]
	for _, sequence := range d.Sequences {
		if sequence == 0 {
			g.madeUp++
		}
		g.upTo = max(g.upTo, sequence)
	}
	t.given[d.Recipient] = g
}

// rest returns b without what is stored.
func (t *tail) rest(b batch) batch {
	if first := b.updates[0]; t == nil || first.epoch != t.epoch || first.sequence > t.last {
		return b
	}
	recipients := make([]routing.Recipient, 0, len(b.recipients))
	for _, r := range b.recipients {
		if g, known := t.given[r.UserID]; known {
			r.States = g.rest(r.States)
		}
		if len(r.States) > 0 {
			recipients = append(recipients, r)
		}
	}
	b.recipients = recipients
	b.letters = slices.DeleteFunc(slices.Clone(b.letters), func(l letter) bool { return t.letters[l.update.sequence] })
	return b
}

func (g given) rest(states []presence.UserState) []presence.UserState {
	var rest []presence.UserState
	madeUp := 0
	for _, s := range states {
		p := s.Published()
		if p == nil {
			madeUp++
		}
		if p == nil && madeUp > g.madeUp || p != nil && p.Position > g.upTo {
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

// read returns what is stored behind the sequence from, up to last at most, that is
// about updates of a partition behind p; nil where there is nothing.
func (r tailReader) read(ctx context.Context, partition partitionID, p position, from, last uint64) (*tail, error) {
	stream, err := r.js.Stream(ctx, r.subjects.DeliveriesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", r.subjects.DeliveriesStream(), err)
	}
	if last = min(last, stream.CachedInfo().State.LastSeq); last <= from {
		return nil, nil
	}
	found := &tail{from: from, epoch: p.epoch, given: make(map[presence.UserID]given), letters: make(map[uint64]bool)}
	err = r.each(ctx, stream, from+1, last, func(m jetstream.Msg) error {
		return found.take(r.subjects, partition, p, m)
	})
	if err != nil {
		return nil, fmt.Errorf("read what is stored of partition %d behind its checkpoint: %w", partition.number, err)
	}
	if found.last == 0 {
		return nil, nil
	}
	return found, nil
}

// take notes m where it is about updates of the partition behind p.
func (t *tail) take(subjects wire.Subjects, partition partitionID, p position, m jetstream.Msg) error {
	value := m.Headers().Get(wire.SourceHeader)
	if value == "" {
		return nil
	}
	source, err := wire.ParseSource(value)
	if err != nil {
		return err
	}
	if source.Partition != partition.number || source.Last < p.next() {
		return nil
	}
	if strings.HasPrefix(m.Subject(), subjects.Dead("")) {
		l, err := wire.DecodeDeadLetter(m.Data())
		if err != nil {
			return err
		}
		t.letters[l.Sequence] = true
	} else {
		d, err := wire.DecodeDelivery(m.Data())
		if err != nil {
			return err
		}
		if d.Epoch != t.epoch {
			return nil
		}
		t.add(d)
	}
	t.last = max(t.last, source.Last)
	return nil
}

// each calls visit with the messages from first to last.
func (r tailReader) each(ctx context.Context, stream jetstream.Stream, first, last uint64, visit func(jetstream.Msg) error) error {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
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
		if err := visit(m); err != nil {
			return err
		}
		if meta.Sequence.Stream == last || meta.NumPending == 0 {
			return nil
		}
	}
}
