package integration_test

import (
	"context"
	"errors"
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
}

// collect reads what the deliveries stream holds behind a sequence by now.
func (d *deployment) collect(after uint64) collected {
	d.t.Helper()
	c := collected{subjects: d.subjects, last: after}
	ctx, cancel := context.WithTimeout(d.t.Context(), commitTimeout)
	defer cancel()
	s, err := d.js.Stream(ctx, d.subjects.DeliveriesStream())
	if err != nil {
		d.t.Fatal(err)
	}
	end := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 || end <= after {
		return c
	}
	messages, stop := d.follow(ctx, after+1)
	defer stop()
	for c.last < end {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			d.t.Fatalf("read deliveries behind %d up to %d: %v", c.last, end, err)
		}
		c.add(d.t, m)
	}
	return c
}

// follow reads the deliveries stream in order from a sequence on.
func (d *deployment) follow(ctx context.Context, from uint64, filters ...string) (messages jetstream.MessagesContext, stop func()) {
	d.t.Helper()
	consumer, err := d.js.OrderedConsumer(ctx, d.subjects.DeliveriesStream(), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, FilterSubjects: filters,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	messages, err = consumer.Messages()
	if err != nil {
		d.t.Fatal(err)
	}
	return messages, messages.Stop
}

// add decodes one message.
func (c *collected) add(t *testing.T, m jetstream.Msg) {
	t.Helper()
	meta, err := m.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	c.last = meta.Sequence.Stream
	switch subject := m.Subject(); {
	case strings.HasPrefix(subject, "presence.deliver."):
		err = c.delivery(m)
	case strings.HasPrefix(subject, "presence.checkpoint."):
		err = c.checkpoint(m)
	default:
		err = c.deadLetter(m)
	}
	if err != nil {
		t.Errorf("message %d on %s: %v", c.last, m.Subject(), err)
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
	messages, end := d.follow(ctx, 1, d.subjects.Checkpoints())
	seen := collected{subjects: d.subjects}
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			m, err := messages.Next(jetstream.NextContext(ctx))
			switch {
			case err == nil:
				seen.add(d.t, m)
				each(seen.Checkpoints[len(seen.Checkpoints)-1])
			case errors.Is(err, jetstream.ErrMsgIteratorClosed):
				return
			default:
				waitUntil(ctx, time.Now().Add(poll)) // The server is away.
			}
		}
	})
	d.t.Cleanup(cancel)
	return func() []integration.Checkpoint {
		cancel()
		end()
		following.Wait()
		return seen.Checkpoints
	}
}

// verify checks that updates became of what was collected, and says the verdict.
func (c collected) verify(t *testing.T, check func(integration.History) integration.Verdict, updates []integration.Update) integration.Verdict {
	t.Helper()
	h := c.History
	h.Updates = updates
	verdict := check(h)
	t.Logf("%d updates, %d deliveries, %d dead letters, %d checkpoints seen: %s",
		len(h.Updates), len(h.Deliveries), len(h.DeadLetters), len(h.Checkpoints), verdict)
	if !verdict.OK() {
		t.Error("the router broke its promises")
	}
	return verdict
}
