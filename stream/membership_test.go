package stream_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const sharedPartitions = 4

func shared(c *stream.Config) { c.Streams.Partitions = sharedPartitions }

// heartbeat returns what a worker says of itself in the bucket, nil for nothing.
func (s *site) heartbeat(t *testing.T, worker string) *wire.Heartbeat {
	t.Helper()
	bucket, err := s.js.KeyValue(t.Context(), s.subjects.WorkersBucket())
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), worker)
	if err != nil {
		return nil
	}
	h, err := wire.DecodeHeartbeat(entry.Value())
	if err != nil {
		t.Fatal(err)
	}
	return &h
}

// awaitShares waits until each worker says that it has n partitions.
func (s *site) awaitShares(t *testing.T, n int, workers ...*worker) {
	t.Helper()
	for _, w := range workers {
		eventually(t, fmt.Sprintf("%d partitions of worker %s", n, w.ID()), func() bool {
			h := s.heartbeat(t, w.ID())
			return h != nil && len(h.Partitions) == n
		})
	}
	for _, w := range workers {
		w.awaitReady(t)
	}
}

// publishToAll stores n updates of one user in each partition, and returns the
// sequence of the last.
func (s *site) publishToAll(t *testing.T, from, n int) uint64 {
	t.Helper()
	last := uint64(0)
	for i := range n {
		for p := range sharedPartitions {
			last = s.publish(t, userIn(t, p), from+i+1)
		}
	}
	return last
}

// userIn returns a user whose updates are in a partition.
func userIn(t *testing.T, partition int) string {
	t.Helper()
	for n := range 1000 {
		user := fmt.Sprintf("@user%d:example.com", n)
		if wire.Partition(presence.MustUserID(user), sharedPartitions) == partition {
			return user
		}
	}
	t.Fatalf("no user is in partition %d", partition)
	return ""
}

func (s *site) awaitAll(t *testing.T, last uint64) {
	t.Helper()
	for p := range sharedPartitions {
		sequence := last - uint64(sharedPartitions-1-p) //nolint:gosec // Small and positive.
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence >= sequence && c.After.IsZero() })
	}
}

// wantEachOnce checks that alice received the updates up to last once, those of each
// user in order.
func wantEachOnce(t *testing.T, deliveries []delivery, last uint64) {
	t.Helper()
	newest := make(map[presence.UserID]uint64)
	times := make(map[uint64]int)
	for _, d := range deliveries {
		for i, state := range d.States {
			if d.Sequences[i] <= newest[state.UserID] {
				t.Errorf("update %d of %s was delivered after %d", d.Sequences[i], state.UserID, newest[state.UserID])
			}
			newest[state.UserID] = d.Sequences[i]
			times[d.Sequences[i]]++
		}
	}
	for sequence := range last {
		times[sequence+1] += 0
	}
	var wrong []uint64
	for _, sequence := range slices.Sorted(maps.Keys(times)) {
		if sequence > last || times[sequence] != 1 {
			wrong = append(wrong, sequence)
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%d updates from %d to %d were not delivered once, want that of 1 to %d; the first one was %d times",
			len(wrong), wrong[0], wrong[len(wrong)-1], last, times[wrong[0]])
	}
}

func TestWorkersShareThePartitions(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	first := s.start(t, toEach(t, alice))
	s.awaitShares(t, 4, first)
	s.awaitAll(t, s.publishToAll(t, 0, 10))
	second := s.start(t, toEach(t, alice))
	s.awaitShares(t, 2, first, second)
	a, b := s.heartbeat(t, first.ID()).Partitions, s.heartbeat(t, second.ID()).Partitions
	if all := slices.Sorted(slices.Values(slices.Concat(a, b))); !slices.Equal(all, []int{0, 1, 2, 3}) {
		t.Errorf("workers have %v and %v, want each partition once", a, b)
	}
	s.awaitAll(t, s.publishToAll(t, 10, 10))
	second.stop(t)
	s.awaitShares(t, 4, first)
	last := s.publishToAll(t, 20, 10)
	s.awaitAll(t, last)
	first.log.await(t, "partitions were shared anew", "given_up=2")
	first.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
	for _, w := range []*worker{first, second} {
		w.log.want(t, 0, "partition is lost")
	}
	first.log.want(t, 1, `msg="claimed the partitions"`, "partitions=4", "workers=1")
	second.log.want(t, 1, `msg="claimed the partitions"`, "partitions=2", "workers=2", fmt.Sprintf("taken_over_from=map[%s:2]", first.ID()))
}

// Workers that come while others are coming and going end up with a share each.
func TestManyWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	var workers []*worker
	for range 5 {
		w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
		w.run(t)
		workers = append(workers, w)
	}
	s.publishToAll(t, 0, 10)
	workers[0].stop(t)
	workers[3].stop(t)
	left := []*worker{workers[1], workers[2], workers[4]}
	for _, w := range left {
		w.awaitReady(t)
	}
	last := s.publishToAll(t, 10, 10)
	s.awaitAll(t, last)
	eventually(t, "4 partitions of 3 workers", func() bool {
		n := 0
		for _, w := range left {
			h := s.heartbeat(t, w.ID())
			if h == nil || len(h.Partitions) == 0 || len(h.Partitions) > 2 {
				return false
			}
			n += len(h.Partitions)
		}
		return n == sharedPartitions
	})
	for _, w := range left {
		w.stop(t)
	}
	wantEachOnce(t, s.deliveries(t), last)
}

// Workers that join and leave in good order, while updates never stop, take nothing from
// each other: every partition is given up before it is claimed.
func TestHandOverFencesNobody(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, shared, func(c *stream.Config) {
			c.Streams.Deliveries.FastIngest = fastIngest
			c.Worker.TTL = eventTimeout // A holder is late on no machine.
		})
		stop := s.publishing(t)
		var workers []*worker
		var meters []*metric.ManualReader
		join := func() {
			reader, meter := newMeter()
			workers, meters = append(workers, s.start(t, toEach(t, alice), meter)), append(meters, reader)
		}
		join()
		join()
		s.awaitShares(t, 2, workers...)
		join()
		join()
		s.awaitShares(t, 1, workers...)
		workers[0].stop(t)
		workers[2].stop(t)
		s.awaitShares(t, 2, workers[1], workers[3])
		last := stop()
		s.awaitCommitted(t, wire.Layout{Partitions: sharedPartitions})
		for i, w := range workers {
			w.stop(t)
			w.log.want(t, 0, "partition is lost")
			wantUnfenced(t, meters[i])
		}
		wantEachOnce(t, s.deliveries(t), last)
	})
}

func wantUnfenced(t *testing.T, reader *metric.ManualReader) {
	t.Helper()
	values := collect(t, reader).values
	for p := range sharedPartitions {
		if n := values[fmt.Sprintf("presence_router_fenced{partition=%d}", p)]; n != 0 {
			t.Errorf("partition %d was lost to another worker %d times, want 0", p, n)
		}
	}
}

// A holder that takes a while to commit what it routes is waited for.
func TestHolderCommitsBeforeItGivesUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, func(c *stream.Config) { c.Worker.TTL = eventTimeout })
	reader, meter := newMeter()
	h := newHeld()
	first := s.startWith(t, []routing.Registration{registration(h.router(t))}, meter)
	last := s.publishToAll(t, 0, 1)
	for range sharedPartitions {
		await(t, h.asked, "call of the router")
	}
	second := s.newWorkerToAlice(t)
	second.run(t)
	second.wantReady(t, "2 partitions of this worker's share are not claimed yet")
	<-time.After(300 * time.Millisecond) // Nothing tells that it claims nothing.
	close(h.release)
	s.awaitShares(t, 2, first, second)
	s.awaitAll(t, last)
	first.stop(t)
	second.stop(t)
	first.log.want(t, 0, "partition is lost")
	wantUnfenced(t, reader)
	wantEachOnce(t, s.deliveries(t), last)
}

func TestMoreWorkersThanPartitions(t *testing.T) {
	t.Parallel()
	s := newSite(t) // one partition
	first := s.start(t, toEach(t, alice))
	idle := s.start(t, toEach(t, alice))
	s.awaitShares(t, 0, idle)
	idle.log.await(t, `msg="claimed the partitions"`, "partitions=0")
	first.stop(t)
	s.awaitShares(t, 1, idle)
	last := s.publish(t, bob, 1)
	s.awaitPosition(t, last)
	idle.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// A worker that is gone without a word is missed after its TTL.
func TestCrashedWorkerIsMissed(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, func(c *stream.Config) { c.Worker.StopTimeout = 100 * time.Millisecond })
	crashing := s.start(t, toEach(t, alice))
	s.awaitShares(t, 4, crashing)
	s.publishToAll(t, 0, 5)
	crashing.nc.Close()
	s.config.Worker.StopTimeout = eventTimeout
	second := s.start(t, toEach(t, alice))
	s.awaitShares(t, 4, second)
	last := s.publishToAll(t, 5, 5)
	s.awaitAll(t, last)
	second.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
	crashing.quit()
	_ = crashing.wait(t) // Without a connection it cannot end well.
}

// A holder that does not give a partition up in time, because a router is stuck,
// loses it: only the partitions of the router's updates wait for it.
func TestStuckHolderLosesThePartition(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	h := newHeld()
	first := s.startWith(t, []routing.Registration{{Name: "stuck", Router: h.router(t), Timeout: eventTimeout}})
	s.awaitShares(t, 4, first)
	last := s.publishToAll(t, 0, 1)
	for range sharedPartitions {
		await(t, h.asked, "call of the router")
	}
	second := s.start(t, toEach(t, alice))
	s.awaitShares(t, 2, second)
	for _, p := range s.heartbeat(t, second.ID()).Partitions {
		sequence := last - uint64(sharedPartitions-1-p) //nolint:gosec // Small and positive.
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence >= sequence && c.Worker == second.ID() })
	}
	close(h.release)
	s.awaitAll(t, last)
	s.awaitShares(t, 2, first, second)
	first.stop(t)
	second.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// When the server was away for longer than the TTL, nobody takes the others for
// gone.
func TestWorkersKeepTheirSharesOverAnOutage(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, onFile)
	first := s.start(t, toEach(t, alice))
	second := s.start(t, toEach(t, alice))
	s.awaitShares(t, 2, first, second)
	before := s.heartbeat(t, first.ID()).Partitions
	s.server.Shutdown()
	first.wantReady(t, "not a member")
	second.wantReady(t, "not a member")
	s.whileDown(t, func() {})
	s.awaitShares(t, 2, first, second)
	if after := s.heartbeat(t, first.ID()).Partitions; !slices.Equal(after, before) {
		t.Errorf("after the outage the worker has %v, before it had %v", after, before)
	}
	last := s.publishToAll(t, 0, 5)
	s.awaitAll(t, last)
	for _, w := range []*worker{first, second} {
		w.stop(t)
		w.log.want(t, 0, "partition is lost")
	}
	first.log.want(t, 1, "partitions were shared anew")
	wantEachOnce(t, s.deliveries(t), last)
}

func TestWorkersConfiguredOtherwiseAreCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	first := s.start(t, toEach(t, alice), meter, stream.WithIdentity("v1", "aaa"))
	second := s.start(t, toEach(t, alice), stream.WithIdentity("v2", "bbb"))
	third := s.start(t, toEach(t, alice), stream.WithIdentity("v1", "aaa"))
	eventually(t, "metric of 3 workers, 1 of them configured otherwise", func() bool {
		values := collect(t, reader).values
		return values["presence_router_workers"] == 3 && values["presence_router_workers_configured_otherwise"] == 1
	})
	if h := s.heartbeat(t, second.ID()); h.Version != "v2" || h.ConfigHash != "bbb" || h.TTL != 3000 {
		t.Errorf("heartbeat is %+v, want version v2, config hash bbb, TTL 3000 ms", h)
	}
	for _, w := range []*worker{first, second, third} {
		w.stop(t)
	}
}

// What is no heartbeat, or of a partition that there is not, does no harm.
func TestStrangeHeartbeats(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	for i, value := range []string{`nonsense`, ``, `{"worker":"odd","instance":"i","ttl_ms":60000,"leaving":true,"partitions":[99]}`} {
		if _, err := s.js.Publish(t.Context(), s.subjects.Heartbeat(fmt.Sprint("odd", i)), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	w := s.start(t, toEach(t, alice))
	s.awaitShares(t, 4, w)
	if err := s.nc.Publish(s.subjects.Heartbeat("odd"), []byte(`nonsense`)); err != nil {
		t.Fatal(err)
	}
	last := s.publishToAll(t, 0, 1)
	s.awaitAll(t, last)
	w.stop(t)
}
