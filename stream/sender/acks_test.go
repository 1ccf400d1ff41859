package sender_test

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/wire"
)

// Two acknowledgements: the first is lost with the connection, the second is confirmed
// on the next one. That says nothing about the first.
func TestAcknowledgementLostWithTheConnection(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	c := config()
	c.AckWait = time.Hour // What is not acknowledged stays so.
	var cut acknowledgementCut
	proxy := natstest.Proxy{FromClient: cut.look}
	made := runAt(t, proxy.Start(t, s.server.URL()), c, far.send, time.Now)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	s.commit(t, "@joe:somewhere.org", says(1, "first")) // The batch under way stands for it as well.
	s.awaitUnacknowledged(t, 2)
	made.awaitHeld(t, 2)
	release()
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
	if !cut.confirmed.Load() {
		t.Error("no acknowledgement was confirmed on the second connection")
	}
}

// A delivery of several states is not done with the first of them, though that one is done
// as soon as it is taken over.
func TestDeliveryIsDoneWithTheLastOfItsStates(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(func(_ context.Context, b sender.Batch) error {
		if b.Destination.String() == "somewhere.org" {
			return &sender.Unsent{Err: errRefused}
		}
		return nil
	})
	c := config()
	c.AckWait = time.Hour // What is not acknowledged stays so.
	s.run(t, c, far.send)
	s.commit(t, eva, state("@carol:elsewhere.net", 1, `"state":"online"`), says(1, "first")) // Carol's is not ours to send.
	await(t, far.tried, "try")
	s.commit(t, "@zoe:elsewhere.net", says(2, "second"))
	far.next(t)
	s.awaitUnacknowledged(t, 1) // That of the delivery to zoe comes after any that the first one has.
	if floor := s.acknowledged(t); floor != 0 {
		t.Errorf("the deliveries up to %d are acknowledged, want none: a state of the first one waits to be sent", floor)
	}
	far.takes()
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
}

// The server confirms an acknowledgement and loses it. What was asked for comes once more,
// which nobody has asked for.
func TestReplayedDeliveryThatComesOnceMoreIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	const confirms = "test.confirms"
	if _, err := s.nc.Subscribe(confirms, func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var lost bool
	proxy := natstest.Proxy{FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
		if lost || !isDone(frame) {
			return frame, natstest.Pass
		}
		lost = true
		return bytes.Replace(frame, bytes.Fields(frame)[1], []byte(confirms), 1), natstest.Pass
	}}
	c := config()
	c.AckWait = 2 * time.Second
	runAt(t, proxy.Start(t, s.server.URL()), c, far.send, time.Now)
	s.commitWith(t, nats.Header{wire.ReplayHeader: {"1"}}, eva, says(1, "first"))
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
	far.wantNone(t)
}

// isDone reports whether a client's frame acknowledges a delivery.
func isDone(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("PUB $JS.ACK.")) && bytes.HasSuffix(frame, []byte("\r\n+ACK\r\n"))
}

// acknowledgementCut loses the first acknowledgement, and has the one after it, which
// asks for a confirmation, arrive on the next connection.
type acknowledgementCut struct {
	lost      bool
	late      []byte
	inbox     []byte // that the confirmation comes to, "*" in place of its last token
	confirmed atomic.Bool
}

func (c *acknowledgementCut) look(frame []byte) ([]byte, natstest.Verdict) {
	fields := bytes.Fields(frame)
	switch {
	case isDone(frame) && !c.lost:
		c.lost = true
		return frame, natstest.Swallow
	case isDone(frame) && c.late == nil:
		c.late = slices.Clone(frame)
		reply := fields[2]
		c.inbox = append(slices.Clone(reply[:bytes.LastIndexByte(reply, '.')+1]), '*')
		return frame, natstest.Sever
	case c.late != nil && !c.confirmed.Load() && len(fields) > 1 && string(fields[0]) == "SUB" && bytes.Equal(fields[1], c.inbox):
		c.confirmed.Store(true)
		return slices.Concat(frame, c.late), natstest.Pass
	}
	return frame, natstest.Pass
}
