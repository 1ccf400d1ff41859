package integration_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/stream/wire"
)

// collected is what was read of a deliveries stream, in order.
type collected struct {
	integration.History

	subjects wire.Subjects
	last     uint64 // sequence of the last message
	forged   int    // acknowledgements that somebody had the server store
	attacked bool   // forged ones are expected
}

// collect reads what the deliveries stream holds behind a sequence by now.
func (d *deployment) collect(after uint64) collected {
	d.t.Helper()
	c := collected{subjects: d.subjects, last: after}
	ctx, cancel := context.WithTimeout(d.t.Context(), commitTimeout)
	defer cancel()
	c.last = d.read(ctx, d.subjects.DeliveriesStream(), after, func(m jetstream.Msg) { c.add(d.t, m) })
	return c
}

// read reads what a stream holds behind a sequence by now, and returns where that
// ends.
func (d *deployment) read(ctx context.Context, stream string, after uint64, each func(jetstream.Msg)) uint64 {
	d.t.Helper()
	s, err := d.js.Stream(ctx, stream)
	if err != nil {
		d.t.Fatal(err)
	}
	end := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 || end <= after {
		return after
	}
	messages, err := d.follow(ctx, stream, after+1)
	if err != nil {
		d.t.Fatal(err)
	}
	defer messages.Stop()
	last := after
	for last < end {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			d.t.Fatalf("read stream %s behind %d up to %d: %v", stream, last, end, err)
		}
		now := sequenceOf(d.t, m)
		if now <= last {
			d.t.Fatalf("read stream %s: message %d came after message %d", stream, now, last)
		}
		each(m)
		last = now
	}
	return last
}

func sequenceOf(tb testing.TB, m jetstream.Msg) uint64 {
	tb.Helper()
	meta, err := m.Metadata()
	if err != nil {
		tb.Fatal(err)
	}
	return meta.Sequence.Stream
}

func timeOf(tb testing.TB, m jetstream.Msg) time.Time {
	tb.Helper()
	meta, err := m.Metadata()
	if err != nil {
		tb.Fatal(err)
	}
	return meta.Timestamp
}

// follow reads a stream in order from a sequence on.
func (d *deployment) follow(ctx context.Context, stream string, from uint64, filters ...string) (jetstream.MessagesContext, error) {
	consumer, err := d.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubjects: filters,
	})
	if err != nil {
		return nil, err
	}
	// In a cluster the first pull may get lost; the heartbeat has it sent again.
	return consumer.Messages(jetstream.PullExpiry(10*time.Second), jetstream.PullHeartbeat(500*time.Millisecond))
}

// add decodes one message.
func (c *collected) add(tb testing.TB, m jetstream.Msg) {
	tb.Helper()
	var err error
	c.last = sequenceOf(tb, m)
	if bytes.HasPrefix(m.Data(), []byte(`{"stream":`)) {
		c.forged++
		return
	}
	switch subject := m.Subject(); {
	case strings.HasPrefix(subject, "presence.deliver."):
		err = c.delivery(m)
	case strings.HasPrefix(subject, "presence.checkpoint."):
		err = c.checkpoint(m)
	default:
		err = c.deadLetter(m)
	}
	if err != nil {
		tb.Errorf("message %d on %s: %v", c.last, m.Subject(), err)
	}
}

func (c *collected) delivery(m jetstream.Msg) error {
	received, err := wire.DecodeDelivery(m.Data())
	if err != nil {
		return err
	}
	subject, err := c.subjects.ParseDelivery(m.Subject())
	if err != nil {
		return err
	}
	source, err := wire.ParseSource(m.Headers().Get(wire.SourceHeader))
	if err != nil {
		return err
	}
	received.States = nil // The checker reads the raw ones.
	c.Deliveries = append(c.Deliveries, integration.Delivery{ReceivedDelivery: received, Subject: subject, Source: source})
	return nil
}

func (c *collected) checkpoint(m jetstream.Msg) error {
	decoded, err := wire.DecodeCheckpoint(m.Data())
	if err != nil {
		return err
	}
	generation, partition, err := c.subjects.ParseCheckpoint(m.Subject())
	if err != nil {
		return err
	}
	c.Checkpoints = append(c.Checkpoints, integration.Checkpoint{Checkpoint: decoded, Generation: generation, Partition: partition})
	return nil
}

func (c *collected) deadLetter(m jetstream.Msg) error {
	letter, err := wire.DecodeDeadLetter(m.Data())
	if err != nil {
		return err
	}
	reason := wire.Reason(strings.TrimPrefix(m.Subject(), "presence.dead."))
	c.DeadLetters = append(c.DeadLetters, integration.DeadLetter{DeadLetter: letter, SubjectReason: reason})
	return nil
}

// then appends what was read later.
func (c *collected) then(later collected) {
	c.Deliveries = append(c.Deliveries, later.Deliveries...)
	c.DeadLetters = append(c.DeadLetters, later.DeadLetters...)
	c.last = later.last
}

// watch follows the checkpoints while a test goes on, over restarts of the server,
// and calls each with every one. stop returns them all.
func (d *deployment) watch(each func(integration.Checkpoint)) (stop func() []integration.Checkpoint) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	seen := collected{subjects: d.subjects}
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			d.watchOn(ctx, &seen, each)
			waitUntil(ctx, time.Now().Add(poll))
		}
	})
	d.t.Cleanup(cancel)
	return func() []integration.Checkpoint {
		cancel()
		following.Wait()
		return seen.Checkpoints
	}
}

// watchOn follows the checkpoints behind those that were seen until there are none
// for a while: the server may be away, or not know of the consumer any more.
func (d *deployment) watchOn(ctx context.Context, seen *collected, each func(integration.Checkpoint)) {
	messages, err := d.follow(ctx, d.subjects.DeliveriesStream(), seen.last+1, d.subjects.Checkpoints())
	if err != nil {
		return
	}
	defer messages.Stop()
	for {
		next, end := context.WithTimeout(ctx, time.Second)
		m, err := messages.Next(jetstream.NextContext(next))
		end()
		if err != nil {
			return
		}
		before := seen.forged
		seen.add(d.t, m)
		if seen.forged == before {
			each(seen.Checkpoints[len(seen.Checkpoints)-1])
		}
	}
}

// verify checks that updates became of what was collected, and says the verdict.
func (c collected) verify(tb testing.TB, check func(integration.History) integration.Verdict, updates []integration.Update) integration.Verdict {
	tb.Helper()
	h := c.History
	h.Updates = updates
	verdict := check(h)
	tb.Logf("%d updates, %d deliveries, %d dead letters, %d checkpoints seen: %s",
		len(h.Updates), len(h.Deliveries), len(h.DeadLetters), len(h.Checkpoints), verdict)
	if c.forged > 0 && !c.attacked {
		tb.Errorf("%d acknowledgements are stored among the deliveries, want none", c.forged)
	}
	if !verdict.OK() {
		tb.Error("the router broke its promises")
	}
	return verdict
}
