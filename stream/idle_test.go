package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// A worker without updates finds out that its partition has a new owner.
func TestIdleWorkerNoticesTakeover(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fastIngest })
		w := s.start(t, toEach(t, alice))
		s.takeOver(t, 0)
		w.log.await(t, "partition is lost", "thief")
		w.stop(t)
	})
}

// A purge of the deliveries stream is mended before another update comes, so that
// a worker that dies then has left its position.
func TestIdleWorkerMendsPurge(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fastIngest })
		w := s.start(t, toEach(t, alice))
		s.awaitPosition(t, s.publish(t, bob, 1))
		last := s.publish(t, bob, 2)
		before := s.awaitPosition(t, last)
		if err := s.deliveriesStream(t).Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := s.awaitCheckpoint(t, 0, func(wire.Checkpoint) bool { return true })
		if after.Epoch != before.Epoch || after.Sequence != before.Sequence || after.Time != before.Time || after.Created != before.Created || after.After != before.After {
			t.Errorf("checkpoint that is written again is %+v, want the position of %+v", after, before)
		}
		w.stop(t)
		w.log.want(t, 1, purgedLine)
	})
}

// An update that is larger than what is read ahead is a dead letter like others.
func TestUpdateLargerThanReadAhead(t *testing.T) {
	t.Parallel()
	const large = 5 << 20
	server := natstest.Run(t, func(o *natsserver.Options) { o.MaxPayload = 8 << 20 })
	s := newSite(t)
	nc := natstest.Connect(t, server.URL())
	s.server, s.url, s.nc, s.js = server, server.URL(), nc, natstest.JetStream(t, nc)
	s.applyTopology(t)
	w := s.start(t, toEach(t, alice))
	edit(t, s.js, s.subjects.UpdatesStream(), func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 }) // As earlier versions made it.
	s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), strings.Repeat("x", large), nil)
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
	if kept := s.awaitLetters(t, 1); kept[0].Letter.Reason != wire.TooLarge {
		t.Errorf("reason is %s, want %s", kept[0].Letter.Reason, wire.TooLarge)
	}
	wantOnce(t, s.deliveries(t), last, last, alice)
}

// What a publisher expected of its first publish does not hold for the second.
func TestRequeueLeavesExpectationsOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	header := nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}, "X-Trace": {"x"}}
	s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "1", header))
	kept := s.awaitLetters(t, 1)
	sequence, err := s.deadLetters(t).Requeue(t.Context(), kept[0].ID)
	if err != nil {
		t.Fatalf("Requeue = %v", err)
	}
	again, err := s.updatesStream(t).GetMsg(t.Context(), sequence)
	if err != nil || again.Header.Get("X-Trace") != "x" {
		t.Errorf("requeued update has header %v, %v, want X-Trace", again.Header, err)
	}
	w.stop(t)
}

// A batch that holds no state is not put to the routers, which may fail on it.
func TestRouterIsNotAskedAboutNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.RetryLimit = time.Hour })
	refusing := registration(routerOf(t, func(context.Context, states) (answer, error) {
		return nil, errors.New("nothing to answer")
	}))
	refusing.OnError = routing.Retry
	w := s.startWith(t, []routing.Registration{refusing})
	s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "1", nil))
	s.awaitLetters(t, 1)
	w.stop(t)
}

// Updates that expire while no worker runs are lost, and the next one says so.
func TestExpiredUpdatesAreTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	w.log.want(t, 0, "updates expired")
	s.publishMany(t, 2, 10)
	if err := s.updatesStream(t).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := s.publish(t, bob, 99)
	w = s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	w.stop(t)
	w.log.want(t, 1, "updates expired")
}
