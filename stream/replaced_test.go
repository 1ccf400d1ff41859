package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestRunEndsWhenReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.ID = "twin" })
	first := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publish(t, bob, 1))
	second := s.start(t, toEach(t, alice))
	if err := first.wait(t); !errors.Is(err, stream.ErrReplaced) {
		t.Errorf("Run = %v, want %v", err, stream.ErrReplaced)
	}
	last := s.publish(t, bob, 2)
	s.awaitPosition(t, last)
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// Which of two workers came later does not hang on their clocks: one that is started
// on another machine, where it is earlier, replaces the one there is.
func TestReplacingWorkerMayHaveAnotherClock(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.ID = "twin" })
	ahead := wire.Heartbeat{Worker: "twin", Instance: "i", TTL: time.Hour.Milliseconds(), Started: time.Now().Add(time.Hour)}
	data, err := ahead.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.publishRaw(t, s.subjects.Heartbeat("twin"), string(data), nil)
	second := s.start(t, toEach(t, alice))
	eventually(t, "heartbeat that replaces the one before", func() bool {
		h := s.heartbeat(t, "twin")
		return h != nil && h.Replaces(ahead)
	})
	s.publishRaw(t, s.subjects.Heartbeat("twin"), string(data), nil) // one more that it had under way
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	second.stop(t)
}

// A worker that stops of itself waits for a router no longer than one that is asked
// to.
func TestReplacedWorkerDoesNotWaitForeverForRouter(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Worker.ID, c.Worker.StopTimeout = "twin", 100*time.Millisecond
	})
	h := newHeld()
	defer close(h.release)
	w := s.startWith(t, []routing.Registration{{Name: "stuck", Router: h.router(t), Timeout: 5 * time.Minute}})
	s.publish(t, bob, 1)
	await(t, h.asked, "call of the router")
	s.publishRaw(t, s.subjects.Heartbeat("twin"), `{"worker":"twin","instance":"i","ttl_ms":3000,"started":"9999-01-01T00:00:00Z"}`, nil)
	if err := w.wait(t); !errors.Is(err, stream.ErrReplaced) || !strings.Contains(err.Error(), "not done within worker.stop_timeout") {
		t.Errorf("Run = %v, want %v, and that it was not done in time", err, stream.ErrReplaced)
	}
}
