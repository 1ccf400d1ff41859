package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// fat returns an update of 20 KiB, so that 1 MiB takes about 50 deliveries of it.
func fat(user string, mark int) string {
	return strings.TrimSuffix(update(user, mark), "}") + `,"fat":"` + strings.Repeat("x", 20<<10) + `"}`
}

func (s *site) publishFat(t *testing.T, n int) uint64 {
	t.Helper()
	last := uint64(0)
	for i := range n {
		last = s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), fat(bob, i+1), nil)
	}
	return last
}

// makeRoom deletes the deliveries, and returns what they were.
func (s *site) makeRoom(t *testing.T) []delivery {
	t.Helper()
	found := s.deliveries(t)
	if len(found) == 0 {
		return nil
	}
	purge := jetstream.WithPurgeSequence(found[len(found)-1].position + 1)
	if err := s.deliveriesStream(t).Purge(t.Context(), jetstream.WithPurgeSubject(s.subjects.Deliveries()), purge); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDeliveriesStreamIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxBytes = 1 << 20
		c.Worker.Batch = 8
	})
	w := s.start(t, toEach(t, alice))
	last := s.publishFat(t, 120)
	received := s.drainFull(t, w, map[int]uint64{0: last})
	wantOnce(t, received, 1, last, alice)
	w.log.await(t, "waiting, nothing is lost", "committing deliveries", "stream PRESENCE_DELIVERIES is full", "raise streams.deliveries.max_bytes", "maximum bytes exceeded")
	w.log.want(t, 0, "partition is lost")
}

// What one update has for its recipients is more than the stream ever holds.
func TestUpdateLargerThanTheDeliveriesStream(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = 1 << 20 })
	all := readers(80)
	w := s.start(t, toEach(t, all...))
	last := s.publishFat(t, 3)
	wantOnce(t, s.drainFull(t, w, map[int]uint64{0: last}), 1, last, all...)
}

// drainFull makes room whenever w waits for it, until w has committed each partition
// up to its last update, and returns all deliveries.
func (s *site) drainFull(t *testing.T, w *worker, last map[int]uint64) []delivery {
	t.Helper()
	var received []delivery
	for !s.reached(t, last) {
		eventually(t, "stall or end", func() bool {
			holds := s.deliveriesStream(t).CachedInfo().State.Msgs > uint64(len(last))
			return s.reached(t, last) || holds && strings.Contains(fmt.Sprint(w.Ready()), "committing deliveries: ")
		})
		received = append(received, s.makeRoom(t)...)
	}
	w.stop(t)
	return append(received, s.deliveries(t)...)
}

func TestStopWhileDeliveriesStreamIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxBytes = 1 << 20
		c.Worker.Batch = 8
	})
	w := s.start(t, toEach(t, alice))
	last := s.publishFat(t, 80)
	w.log.await(t, "waiting, nothing is lost", "committing deliveries")
	began := time.Now()
	w.quit()
	if err := w.wait(t); err != nil || time.Since(began) > s.config.Worker.StopTimeout/2 {
		t.Errorf("Run = %v after %v, want that it ends soon and in good order", err, time.Since(began))
	}
	w.log.want(t, 1, "stopped with updates that are routed and not stored", "the deliveries stream is full", "raise streams.deliveries.max_bytes")
	received := s.makeRoom(t)
	second := s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	second.stop(t)
	wantOnce(t, append(received, s.deliveries(t)...), 1, last, alice)
}

// reached reports whether the partitions are committed up to their last updates.
func (s *site) reached(t *testing.T, last map[int]uint64) bool {
	t.Helper()
	for p, sequence := range last {
		if c, _ := s.checkpoint(t, p); c.Sequence != sequence || !c.After.IsZero() {
			return false
		}
	}
	return true
}

// What several partitions have ready is more than the stream ever holds: it goes
// into several commits.
func TestCommitIsNotLargerThanTheDeliveriesStream(t *testing.T) {
	t.Parallel()
	const partitions = 8
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.FastIngest = false
		c.Streams.Partitions = partitions
		c.Streams.Deliveries.MaxBytes = 1 << 20
	})
	s.url = startProxy(t, s.url, &proxy{fromServer: onNth(1, isCommitAnswer, swallow)}) // so that the rest is ready by then
	w := s.start(t, toEach(t, readers(9)...))
	last := make(map[int]uint64)
	for i := 0; len(last) < partitions; i++ {
		user := fmt.Sprintf("@user%d:example.com", i)
		if p := wire.Partition(presence.MustUserID(user), partitions); last[p] == 0 {
			last[p] = s.publishRaw(t, s.subjects.Update(presence.MustUserID(user)), fat(user, i), nil)
		}
	}
	if got := len(s.drainFull(t, w, last)); got != 9*partitions {
		t.Errorf("%d deliveries, want %d", got, 9*partitions)
	}
}

// fill stores deliveries until not even a small one fits.
func (s *site) fill(t *testing.T) {
	t.Helper()
	subject := s.subjects.Delivery(wire.Local, 0, presence.MustUserID(alice))
	for _, size := range []int{64 << 10, 1 << 10, 0} {
		for {
			if _, err := s.js.Publish(t.Context(), subject, make([]byte, size)); err != nil {
				break
			}
		}
	}
}

// A worker that begins waits for room longer than for anything else.
func TestStartWhileDeliveriesStreamIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxBytes = 1 << 20
		c.Worker.StartTimeout = time.Second
	})
	s.fill(t)
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.run(t)
	w.log.await(t, "waiting, nothing is lost", "claiming partitions", "stream PRESENCE_DELIVERIES is full", "maximum bytes exceeded")
	select {
	case <-w.done:
		t.Fatalf("Run = %v, want that it waits", w.err)
	case <-time.After(3 * s.config.Worker.StartTimeout):
	}
	w.wantReady(t, "1 partition of this worker's share is not claimed yet")
	if err := s.deliveriesStream(t).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.awaitReady(t)
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}
