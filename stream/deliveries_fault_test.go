package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const purgedLine = "checkpoints are gone"

// The deliveries stream loses everything, checkpoints included, while a worker runs.
func TestDeliveriesStreamIsLostWhileRunning(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		lose func(t *testing.T, s *site)
	}{
		{"purged", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.deliveriesStream(t).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"made again", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.js.DeleteStream(t.Context(), s.subjects.DeliveriesStream()); err != nil {
				t.Fatal(err)
			}
			s.applyTopology(t)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			tt.lose(t, s)
			last := s.publishMany(t, 5, 5)
			c := s.awaitPosition(t, last)
			if c.Worker != w.ID() {
				t.Errorf("checkpoint is of worker %q, want %q", c.Worker, w.ID())
			}
			s.awaitPosition(t, s.publish(t, bob, 11)) // the next commit is an ordinary one
			w.stop(t)
			wantOnce(t, s.deliveries(t), 6, 11, alice)
			w.log.want(t, 1, purgedLine, "partition=0")
			w.log.want(t, 0, "partition is lost")
		})
	}
}

// Each partition finds out for itself; it is said once.
func TestPurgeIsLoggedOnce(t *testing.T) {
	t.Parallel()
	const partitions = 4
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = partitions })
	w := s.start(t, toEach(t, alice))
	if err := s.deliveriesStream(t).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := make(map[int]uint64)
	for i := range 20 {
		user := fmt.Sprintf("@user%d:example.com", i)
		last[wire.Partition(presence.MustUserID(user), partitions)] = s.publish(t, user, i)
	}
	for p, sequence := range last {
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence == sequence })
	}
	w.stop(t)
	w.log.want(t, 1, purgedLine)
	if len(last) != partitions {
		t.Errorf("updates are in %d partitions, want all %d", len(last), partitions)
	}
}

// The deliveries stream goes back to where 5 of 10 updates were delivered: what it
// lost is delivered again.
func TestDeliveriesStreamIsRolledBack(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("worker runs %t", running), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, onFile)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			copied := s.backUp(t, s.subjects.DeliveriesStream())
			s.awaitPosition(t, s.publishMany(t, 5, 5))
			if !running {
				w.stop(t)
			}
			s.restore(t, s.subjects.DeliveriesStream(), copied)
			if got := len(sequences(s.deliveries(t))[alice]); got != 5 {
				t.Fatalf("the stream that was restored holds %d states, want 5", got)
			}
			last := s.publishMany(t, 10, 2)
			if !running {
				w = s.start(t, toEach(t, alice))
			}
			s.awaitPosition(t, last)
			w.awaitReady(t)
			w.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, alice)
			if running {
				w.log.want(t, 1, "claiming the partition anew", "the deliveries stream went back to an older checkpoint")
			}
			w.log.want(t, 0, "partition is lost")
		})
	}
}

// The stream goes back to a checkpoint of an earlier worker.
func TestDeliveriesStreamIsRolledBackBeyondTheClaim(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	first := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	first.stop(t)
	copied := s.backUp(t, s.subjects.DeliveriesStream())
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	s.restore(t, s.subjects.DeliveriesStream(), copied)
	last := s.publishMany(t, 10, 2)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence == last && c.Worker == w.ID() })
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	w.log.want(t, 1, "claiming the partition anew")
	w.log.want(t, 0, "partition is lost")
}

// Both streams go back to the same moment, so that the checkpoint fits; the worker
// has seen updates since that other ones now have the sequences of.
func TestBothStreamsAreRolledBackWhileRunning(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	updates, deliveries := s.backUp(t, s.subjects.UpdatesStream()), s.backUp(t, s.subjects.DeliveriesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	s.whileDown(t, func() {
		s.putBack(t, s.subjects.UpdatesStream(), updates)
		s.putBack(t, s.subjects.DeliveriesStream(), deliveries)
	})
	last := s.publishMany(t, 20, 3)
	s.awaitPosition(t, last)
	w.stop(t)
	found := s.deliveries(t)
	wantOnce(t, found, 1, last, alice)
	wantEpochs(t, found, 5)
}

// As above, and the worker claims the partition again before its reader has looked at the
// updates stream: the claim knows what was read.
func TestBothStreamsAreRolledBackWhileOneIsRouted(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	const claims = "claiming the partition anew"
	var blind atomic.Pointer[logs] // until they tell of the claim
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		log := blind.Load()
		if log != nil && bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.INFO.PRESENCE_UPDATES ")) && len(log.with(claims)) == 0 {
			return frame, swallow
		}
		return frame, pass
	}})
	const held = 11
	asked, release := make(chan struct{}, 1), make(chan struct{})
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if marks(batch)[0] == held {
			asked <- struct{}{}
			<-release
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	}))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	updates, deliveries := s.backUp(t, s.subjects.UpdatesStream()), s.backUp(t, s.subjects.DeliveriesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	s.publish(t, bob, held)
	await(t, asked, "call of the router")
	blind.Store(w.log)
	s.whileDown(t, func() {
		s.putBack(t, s.subjects.UpdatesStream(), updates)
		s.putBack(t, s.subjects.DeliveriesStream(), deliveries)
	})
	last := s.publishMany(t, 20, 3)
	close(release)
	s.awaitPosition(t, last)
	w.stop(t)
	found := s.deliveries(t)
	wantOnce(t, found, 1, last, alice)
	wantEpochs(t, found, 5)
	w.log.want(t, 1, claims, "the deliveries stream went back to an older checkpoint")
}

func TestServerRestartsWhileUpdatesFlow(t *testing.T) {
	t.Parallel()
	const partitions, rounds = 4, 2
	s := newSite(t, onFile, func(c *stream.Config) { c.Streams.Partitions = partitions })
	recipients := readers(5)
	w := s.start(t, toEach(t, recipients...))
	last := make(map[int]uint64)
	total := 0
	for round := range rounds {
		for i := range 40 {
			user := fmt.Sprintf("@user%d:example.com", i)
			last[wire.Partition(presence.MustUserID(user), partitions)] = s.publish(t, user, round)
			total++
		}
		s.whileDown(t, func() {}) // while the worker still has some of them under way
		eventually(t, "reconnect", func() bool { return w.nc.FlushTimeout(time.Second) == nil })
	}
	for p, sequence := range last {
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence == sequence })
	}
	w.stop(t)
	for recipient, received := range sequences(s.deliveries(t)) {
		slices.Sort(received)
		if got := len(slices.Compact(slices.Clone(received))); got != total || len(received) != total {
			t.Errorf("%s received %d states, %d of them different; want %d", recipient, len(received), got, total)
		}
	}
	w.log.want(t, 0, "partition is lost")
	// Once for both connections of the worker, and once where one was still away then.
	if lines := w.log.with("disconnected from NATS"); len(lines) == 0 || len(lines) > rounds {
		t.Errorf("%d lines tell of %d outages:\n%s", len(lines), rounds, w.log)
	}
}
