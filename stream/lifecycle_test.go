package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

func (w *worker) wantReady(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("Ready that says %q", text), func() bool {
		err := w.Ready()
		return err != nil && strings.Contains(err.Error(), text)
	})
}

func TestReadySaysWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.wantReady(t, "the worker is not running")
	w.run(t)
	w.awaitReady(t)

	s.server.Shutdown()
	w.wantReady(t, "not connected to NATS")
	w.log.await(t, "waiting, nothing is lost")
	w.log.want(t, 0, "outbound buffer")
	s.whileDown(t, func() {})
	w.awaitReady(t)

	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, "reading updates: ")
	s.applyTopology(t)
	w.awaitReady(t)

	if err := s.js.DeleteStream(t.Context(), s.subjects.DeliveriesStream()); err != nil {
		t.Fatal(err)
	}
	last := s.publish(t, bob, 1)
	w.wantReady(t, "committing deliveries: ")
	s.applyTopology(t)
	s.awaitPosition(t, last)
	w.awaitReady(t)
	w.stop(t)
	w.wantReady(t, "the worker is not running")
}

// held is a router that answers once it is released.
type held struct {
	asked   chan struct{} // gets a value with each call
	release chan struct{}
}

func newHeld() *held { return &held{asked: make(chan struct{}, 100), release: make(chan struct{})} }

func (h *held) router(t *testing.T) routing.Router {
	t.Helper()
	return routerOf(t, func(_ context.Context, batch states) (answer, error) {
		h.asked <- struct{}{}
		<-h.release
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	})
}

func TestStopCommitsWhatIsRouted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := newHeld()
	w := s.start(t, h.router(t))
	s.publish(t, bob, 1)
	await(t, h.asked, "call of the router")
	w.quit()
	w.wantReady(t, "the worker is stopping")
	close(h.release)
	if err := w.wait(t); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	c, _ := s.checkpoint(t, 0)
	if c.Sequence == 0 {
		t.Errorf("the update that was being routed is not committed")
	}
	wantOnce(t, s.deliveries(t), 1, c.Sequence, alice)
}

func TestStopTakesNoMore(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Batch = 1 })
	h := newHeld()
	w := s.start(t, h.router(t))
	last := s.publishMany(t, 0, 60)
	await(t, h.asked, "call of the router")
	w.quit()
	eventually(t, "news that the worker leaves", func() bool {
		found, err := status.Read(t.Context(), s.nc, s.subjects.Prefix())
		return err == nil && slices.ContainsFunc(found.Workers, func(w status.Worker) bool { return w.Leaving })
	})
	close(h.release)
	if err := w.wait(t); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if c, _ := s.checkpoint(t, 0); c.Sequence != 1 {
		t.Errorf("position is %d, want 1: nothing is taken after the stop", c.Sequence)
	}
	second := s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

func TestStopDoesNotWaitForeverForRouter(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.StopTimeout = 100 * time.Millisecond })
	h := newHeld()
	w := s.startWith(t, []routing.Registration{{Name: "stuck", Router: h.router(t), Timeout: 5 * time.Minute}})
	last := s.publishMany(t, 0, 3)
	await(t, h.asked, "call of the router")
	w.quit()
	if err := w.wait(t); err == nil || !strings.Contains(err.Error(), "not done within worker.stop_timeout") {
		t.Errorf("Run = %v, want that it was not done in time", err)
	}
	close(h.release)
	s.config.Worker.StopTimeout = eventTimeout
	second := s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

func TestRunWithoutTopology(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Worker.Topology = false
		c.Worker.StartTimeout = time.Second
	})
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeadStream()); err != nil {
		t.Fatal(err)
	}
	registrations := []routing.Registration{registration(toEach(t, alice))}
	late := s.newWorker(t, registrations)
	late.run(t)
	err := late.wait(t)
	if err == nil || !strings.Contains(err.Error(), "gave up after 1s: stream PRESENCE_DEAD is missing: make it with topology apply") {
		t.Errorf("Run = %v, want that it gave up waiting for PRESENCE_DEAD", err)
	}

	s.config.Worker.StartTimeout = eventTimeout
	waiting := s.newWorker(t, registrations)
	waiting.run(t)
	waiting.log.await(t, "waiting, nothing is lost", "preparing the streams", "PRESENCE_DEAD is missing")
	s.applyTopology(t)
	waiting.awaitReady(t)
	waiting.stop(t)
	waiting.log.want(t, 1, "going on", "preparing the streams")
}

func TestRunMakesStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{s.subjects.UpdatesStream(), s.subjects.DeliveriesStream(), s.subjects.DeadStream(), s.subjects.WorkersStream(), s.subjects.StateStream()} {
		if err := s.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	w := s.start(t, toEach(t, alice))
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	w.log.want(t, 5, "changed a stream", "action=create")
}

func TestRunEndsAtOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(*natsserver.Options)
		change  func(*site)
		want    string
	}{
		{
			"a stream of another kind", func(*natsserver.Options) {}, func(s *site) {
				edit(t, s.js, s.subjects.DeadStream(), func(c *jetstream.StreamConfig) { c.Sources[0].FilterSubject = "presence.dead.malformed" })
			}, "stream PRESENCE_DEAD: sources is PRESENCE_DELIVERIES presence.dead.malformed",
		},
		{"small payload", func(o *natsserver.Options) { o.MaxPayload = 500 << 10 }, func(*site) {}, "max_payload is 512000: want at least 528384"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.Run(t, tt.prepare)
			s := newSiteOn(t, server, testConfig())
			tt.change(s)
			s.config.Worker.StartTimeout = time.Hour
			w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
			w.run(t)
			if err := w.wait(t); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run = %v, want %s", err, tt.want)
			}
		})
	}
}

func TestStopWhileWaitingForStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Topology = false })
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.run(t)
	w.log.await(t, "waiting, nothing is lost")
	w.stop(t)
}

// A router that hangs is known long before it times out, although the checkpoint is
// written again meanwhile.
func TestReadySaysWhatHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL = 2 * time.Second })
	h := newHeld()
	w := s.startWith(t, []routing.Registration{{Name: "stuck", Router: h.router(t), Timeout: time.Minute}})
	last := s.publishMany(t, 0, 3)
	await(t, h.asked, "call of the router")
	w.wantReady(t, "1 partition has updates and comes no further, partition 0 for ")
	close(h.release)
	s.awaitPosition(t, last)
	w.awaitReady(t)
}

// A router that is slow with the updates of one partition holds up no other one.
func TestSlowRouterHoldsUpItsPartitionOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	slow, release := presence.MustUserID(userIn(t, 1)), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn()
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if batch[0].UserID == slow {
			<-release
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	}))
	last := s.publishToAll(t, 0, 10)
	for _, p := range []int{0, 2, 3} {
		sequence := last - uint64(sharedPartitions-1-p) //nolint:gosec // Small and positive.
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence >= sequence })
	}
	if c, _ := s.checkpoint(t, 1); c.Sequence > 0 {
		t.Errorf("the partition of the slow router is committed up to update %d, want none", c.Sequence)
	}
	goOn()
	s.awaitAll(t, last)
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}
