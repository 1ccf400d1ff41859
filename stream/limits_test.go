package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// sized returns an update of bob of that many bytes.
func sized(mark, bytes int) string {
	data := update(bob, mark)
	return data + strings.Repeat(" ", bytes-len(data))
}

// The server takes updates of max_update_bytes with room for headers, and tells the
// publisher of larger ones.
func TestServerRefusesLargeUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Updates.MaxUpdateBytes = 1000 })
	w := s.start(t, toEach(t, alice))
	subject := s.subjects.Update(presence.MustUserID(bob))
	first := s.publishRaw(t, subject, sized(1, 1000), nil)
	s.publishRaw(t, subject, sized(2, 1001), nil)
	_, err := s.js.Publish(t.Context(), subject, []byte(sized(3, 1001+4<<10)))
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != 10054 || api.Code != 400 {
		t.Errorf("publish of an update that is far too large = %v, want error 10054 of the server", err)
	}
	if kept := s.awaitLetters(t, 1); kept[0].Letter.Reason != wire.TooLarge {
		t.Errorf("reason is %s, want %s", kept[0].Letter.Reason, wire.TooLarge)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), first, first, alice)
}

// unlimited has the streams as they were before they had these limits.
func (s *site) unlimited(t *testing.T) {
	t.Helper()
	for _, name := range []string{s.subjects.UpdatesStream(), s.subjects.DeadStream(), s.subjects.StateStream()} {
		edit(t, s.js, name, func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgSize = -1, -1 })
	}
}

func (s *site) limits(t *testing.T, name string) (maxBytes int64, maxMsgSize int32) {
	t.Helper()
	c := s.stream(t, name).CachedInfo().Config
	return c.MaxBytes, c.MaxMsgSize
}

// Streams of a version that had no limits get those that delete nothing.
func TestWorkerSetsLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Dead.MaxBytes, c.Streams.State.MaxBytes = 1<<20, 1<<20 })
	s.unlimited(t)
	for range 20 {
		s.publishRaw(t, s.subjects.Dead(wire.Malformed), strings.Repeat("x", 64<<10), nil)
	}
	eventually(t, "20 letters of more than 1 MiB", func() bool { return s.stream(t, s.subjects.DeadStream()).CachedInfo().State.Msgs == 20 })
	w := s.start(t, toEach(t, alice))
	if maxBytes, _ := s.limits(t, s.subjects.DeadStream()); maxBytes != -1 {
		t.Errorf("max_bytes of the dead letters is %d, want none: it would delete some", maxBytes)
	}
	w.log.want(t, 1, "streams are not as configured", "setting=max_bytes", "have=-1", "configured=1048576", "streams=[PRESENCE_DEAD]")
	w.log.want(t, 1, "streams are not as configured")
	if maxBytes, _ := s.limits(t, s.subjects.StateStream()); maxBytes != 1<<20 {
		t.Errorf("max_bytes of the states is %d, want 1 MiB", maxBytes)
	}
	if maxBytes, maxMsgSize := s.limits(t, s.subjects.UpdatesStream()); maxBytes != -1 || maxMsgSize != 68<<10 {
		t.Errorf("max_bytes of the updates is %d and max_msg_size %d, want no limit and 68 KiB", maxBytes, maxMsgSize)
	}
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), last, last, alice)
}

// A server without room for a limit keeps no worker from its work.
func TestWorkerStartsWhereLimitsAreRefused(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t, func(o *natsserver.Options) { o.MaxMemory = 64 << 20 })
	s := newSiteOn(t, server, testConfig())
	s.config.Streams.State.MaxBytes = 1 << 30
	s.config.Streams.Updates.MaxUpdateBytes = 32 << 10
	s.unlimited(t)
	w := s.start(t, toEach(t, alice))
	w.log.want(t, 1, "streams are not as configured", "setting=max_bytes", "have=-1", "configured=1073741824", "streams=[PRESENCE_STATE]")
	w.log.want(t, 1, "streams are not as configured")
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
}

// Commits fit into the deliveries stream as it is, not as a worker is configured.
func TestCommitsFitTheStreamThatIsThere(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxBytes, c.Streams.Deliveries.FastIngest = 1<<20, false
	})
	other := s.with(func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = -1 })
	w := other.start(t, toEach(t, alice))
	last := s.publishFat(t, 120)
	wantOnce(t, s.drainFull(t, w, map[int]uint64{0: last}), 1, last, alice)
}

// A flood of garbage takes what the limits allow, and no more. Others are served.
func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		for _, limit := range []*int64{&c.Streams.Updates.MaxBytes, &c.Streams.Deliveries.MaxBytes, &c.Streams.Dead.MaxBytes, &c.Streams.State.MaxBytes} {
			*limit = 1 << 20
		}
		c.Streams.Deliveries.MaxAge = 2 * time.Second
	})
	w := s.start(t, toEach(t, alice))
	garbage := strings.Repeat("x", 20<<10) // Its dead letters fill 1 MiB to 97 %.
	marks := make(map[uint64]bool)
	for i := range 10 {
		for range 18 {
			s.publishRaw(t, s.subjects.Update(presence.MustUserID("@flood:example.com")), garbage, nil)
		}
		last := s.publish(t, bob, i)
		marks[last] = true
		s.awaitPosition(t, last)
		for _, d := range s.deliveries(t) {
			delete(marks, d.Sequences[0])
		}
	}
	if len(marks) > 0 {
		t.Errorf("updates %v of another publisher were not delivered", marks)
	}
	for _, name := range s.allStreams() {
		if state := s.stream(t, name).CachedInfo().State; state.Bytes > 1<<20 {
			t.Errorf("stream %s has %d bytes, want at most 1 MiB", name, state.Bytes)
		}
	}
	s.awaitWarning(t, "tream PRESENCE_DEAD is full")
	w.stop(t)
}
