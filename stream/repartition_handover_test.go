package stream_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// eachHeartbeat has hear hear every heartbeat from now on, one at a time.
func (s *site) eachHeartbeat(t *testing.T, hear func(wire.Heartbeat)) {
	t.Helper()
	hearing, err := s.nc.Subscribe(s.subjects.Heartbeats(), func(m *nats.Msg) {
		if h, err := wire.DecodeHeartbeat(m.Data); err == nil {
			hear(h)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hearing.Unsubscribe() })
}

// Workers that have gone over to the new layout leave those their share that have
// not, and the log tells of nobody who had the new partitions before.
func TestRepartitionMovesNothingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	workers := []*worker{s.start(t, toEach(t, alice)), s.start(t, toEach(t, alice)), s.start(t, toEach(t, alice))}
	s.awaitStatus(t, "partition of each worker", func(found status.Status) bool {
		return !slices.ContainsFunc(found.Workers, func(w status.Worker) bool { return len(w.Partitions) == 0 })
	})
	s.eachHeartbeat(t, func(h wire.Heartbeat) {
		if h.Generation == 1 && len(h.Partitions) > 4 {
			t.Errorf("worker %s takes partitions %v, want 4", h.Worker, h.Partitions)
		}
	})
	s.mustRepartition(t, 12, wire.Layout{Generation: 1, Partitions: 12})
	s.awaitShares(t, 4, workers...)
	for _, w := range workers {
		w.log.await(t, "partitions were shared anew", "partitions=4", "taken_over_from=map[]", "given_up=0")
	}
}

// A worker that does not follow to the new layout keeps nothing from being served.
func TestRepartitionLeavesAWorkerBehind(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	behind := wire.Heartbeat{Worker: "behind", Instance: "i", TTL: 1000}
	beat := func() {
		behind.Beat++
		data, err := behind.Encode()
		if err != nil {
			t.Fatal(err)
		}
		s.publishRaw(t, s.subjects.Heartbeat(behind.Worker), string(data), nil)
	}
	beat()
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.run(t)
	eventually(t, "6 partitions of the worker that is not behind", func() bool {
		beat()
		h := s.heartbeat(t, w.ID())
		return h != nil && len(h.Partitions) == 6
	})
}

// The command does not wait for workers that are gone, or go.
func TestRepartitionAfterTheLastWorker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(t *testing.T, w *worker)
	}{
		{"stopped", func(t *testing.T, w *worker) { t.Helper(); w.stop(t) }},
		{"without a word", func(t *testing.T, w *worker) {
			t.Helper()
			w.nc.Close()
			w.quit()
			_ = w.wait(t) // Without a connection it cannot end well.
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared, func(c *stream.Config) { c.Worker.StopTimeout = 3 * time.Second })
			w := s.start(t, toEach(t, alice))
			s.awaitShares(t, sharedPartitions, w)
			tt.end(t, w)
			s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
		})
	}
}

// A partition without a checkpoint has not been claimed.
func TestRepartitionWaitsForEveryClaim(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishRaw(t, s.subjects.Heartbeat("idle"), `{"worker":"idle","instance":"i","ttl_ms":3600000}`, nil)
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{
		Prefix: s.config.Streams.Prefix, Partitions: 2, Wait: time.Second,
		Progress: func(p topology.Progress) {
			if p == (topology.Progress{Step: topology.Position, Done: 2, Total: 2}) {
				s.purge(t, s.subjects.In(1).Checkpoint(0), s.subjects.In(1).Checkpoint(1))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "2 of 2 partitions are left") {
		t.Errorf("Run = %v, want that 2 partitions are not claimed", err)
	}
}

// purge deletes what the deliveries stream has of subjects.
func (s *site) purge(t *testing.T, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		if err := s.deliveriesStream(t).Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
			t.Fatal(err)
		}
	}
}
