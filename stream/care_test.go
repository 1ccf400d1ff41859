package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

// Dead letters outlive the loss of their stream: a worker says that it is missing, makes
// it again, and the letters arrive that were written meanwhile.
func TestDeadLettersOutliveTheirStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Second })
	reader, metered := newMeter()
	w := s.start(t, toEach(t, alice), metered)
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeadStream()); err != nil {
		t.Fatal(err)
	}
	s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "nonsense", nil)
	w.wantReady(t, "stream PRESENCE_DEAD is missing: dead letters are kept for streams.deliveries.max_age only")
	w.log.await(t, "something is wrong with NATS or the streams", "problem=stream_missing", "stream=PRESENCE_DEAD")
	const gauge = "presence_router_problems{problem=stream_missing,stream=PRESENCE_DEAD}"
	if m := collect(t, reader); m.values[gauge] != 1 {
		t.Errorf("%s is %d, want 1; there are %v", gauge, m.values[gauge], m.values)
	}
	w.log.await(t, "made a stream again that was missing", "stream=PRESENCE_DEAD")
	w.awaitReady(t)
	w.log.await(t, "what was wrong with NATS or the streams is over", "stream=PRESENCE_DEAD")
	if m := collect(t, reader); m.values[gauge] != 0 {
		t.Errorf("%s is %d, want none", gauge, m.values[gauge])
	}
	status := s.awaitStatus(t, "dead letter", func(status status.Status) bool { return len(status.DeadLetters) > 0 })
	if status.DeadLetters[wire.Malformed] != 1 {
		t.Errorf("dead letters are %v, want the one that is malformed", status.DeadLetters)
	}
	w.log.want(t, 1, "something is wrong with NATS or the streams")
}

// Who asks for newest states while their stream is missing is told that, until a worker
// has made it again from the updates.
func TestNewestStatesOutliveTheirStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Second })
	w := s.start(t, matrix{alice: {bob}})
	s.awaitPosition(t, s.publish(t, bob, 1))
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	w.wantReady(t, "stream PRESENCE_STATE is missing: send_online_presence and current_states are not answered")
	request := wire.SendOnlinePresenceRequest{Users: []presence.UserID{presence.MustUserID(alice)}}.Append(nil)
	if _, err := s.ask(t, wire.SendOnlinePresence, request); !strings.Contains(fmt.Sprint(err), "stream PRESENCE_STATE is missing: ") {
		t.Errorf("the answer is error %v, want that the stream is missing", err)
	}
	w.awaitReady(t)
	w.log.want(t, 1, "made a stream again that was missing", "stream=PRESENCE_STATE")
	eventually(t, "bob's state", func() bool { return s.sendOnlinePresence(t, alice)[alice] == 1 })
}

// A worker that changes no streams makes none.
func TestStreamsAreNotMadeAgainUnasked(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL, c.Worker.Topology = time.Second, false })
	w := s.start(t, toEach(t, alice))
	for _, name := range []string{s.subjects.DeadStream(), s.subjects.StateStream()} {
		if err := s.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	w.wantReady(t, "stream PRESENCE_STATE is missing")
	select {
	case <-w.done:
		t.Fatalf("Run = %v, want that it goes on", w.err)
	case <-time.After(5 * time.Second):
	}
	w.wantReady(t, "stream PRESENCE_DEAD is missing")
	s.awaitPosition(t, s.publish(t, bob, 1))
}
