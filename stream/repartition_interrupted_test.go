package stream_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// A command that is gone before its change has ended holds up what is published
// since: status, plan, readiness and log say so until it is run again.
func TestInterruptedRepartitionIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, func(c *stream.Config) { c.Worker.TTL = time.Second })
	s.publishToAll(t, 0, 2)
	if _, err := s.repartition(t, 6, time.Nanosecond); err == nil {
		t.Fatal("Run without a worker = nil, want that partitions are left")
	}
	last := s.publishToAll(t, 2, 2)
	const what, remedy = "hange from 4 to 6 partitions is under way", "; if no command is at work, run: router-worker topology repartition 6"

	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.run(t)
	s.awaitCommitted(t, wire.Layout{Partitions: sharedPartitions})
	w.wantReady(t, "changing the number of partitions: a c"+what)
	w.log.await(t, "waiting, nothing is lost", "changing the number of partitions", remedy[2:])

	status := s.status(t)
	r := status.Repartition
	if r == nil || r.From != 4 || r.To != 6 || r.Waiting != 8 || r.OldestWaiting <= 0 || r.OldestWaiting > status.Time.Sub(r.Began).Seconds() {
		t.Fatalf("status shows the change %+v, want one from 4 to 6 that 8 updates have waited for since it began", r)
	}
	if got := status.Warnings(time.Hour); len(got) != 1 || !strings.HasPrefix(got[0], "A c"+what+"; 8 updates wait for it, the oldest for ") || !strings.HasSuffix(got[0], remedy+".") {
		t.Errorf("warnings are %q, want the change that is under way", got)
	}
	if got := s.plan(t); len(got) != 1 || got[0].Action != stream.Keep || got[0].Have != "4" || got[0].Reason != "a c"+what+remedy {
		t.Errorf("plan is %v, want the change that is under way", got)
	}

	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	w.log.await(t, "going on", "changing the number of partitions")
	w.awaitReady(t)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	if r := s.status(t).Repartition; r != nil {
		t.Errorf("status shows the change %+v after its end", r)
	}
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// However long ago a change began, workers are ready until updates have waited for it.
func TestRepartitionThatUpdatesBeginToWaitFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, func(c *stream.Config) { c.Worker.TTL = time.Second })
	s.publishToAll(t, 0, 1)
	if _, err := s.repartition(t, 6, time.Nanosecond); err == nil {
		t.Fatal("Run without a worker = nil, want that partitions are left")
	}
	w := s.start(t, toEach(t, alice))
	eventually(t, "an old change", func() bool {
		status := s.status(t)
		return status.Time.Sub(status.Repartition.Began) > 12*time.Second // 10 times the TTL, and a look
	})
	if err := w.Ready(); err != nil {
		t.Errorf("Ready where nothing waits = %v, want nil", err)
	}
	last := s.publishToAll(t, 1, 1)
	w.wantReady(t, "changing the number of partitions: ")
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// A change that was recorded and not begun holds nothing up, but is under way.
func TestRepartitionThatNothingWaitsFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	data, err := wire.LayoutRecord{
		Serving: wire.Layout{Partitions: sharedPartitions},
		Move:    &wire.LayoutMove{To: wire.Layout{Generation: 1, Partitions: 6}, Created: s.updatesStream(t).CachedInfo().Created, Replicas: 1},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.publishRaw(t, s.subjects.LayoutRecord(), string(data), nil)
	s.publishToAll(t, 0, 1)
	const want = "A change from 4 to 6 partitions is under way; 0 updates wait for it; if no command is at work, run: router-worker topology repartition 6."
	if got := s.status(t).Warnings(time.Hour); !slices.Contains(got, want) {
		t.Errorf("warnings are %q, want %q among them", got, want)
	}
	recorded := s.status(t).Repartition.Began
	if _, err := s.repartition(t, 6, time.Nanosecond); err == nil {
		t.Fatal("Run without a worker = nil, want that partitions are left")
	}
	if began := s.status(t).Repartition.Began; !began.After(recorded) {
		t.Errorf("the change began at %v, want that it is when it was taken up, after %v", began, recorded)
	}
	s.start(t, toEach(t, alice))
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
}

func (s *site) plan(t *testing.T) []stream.Change {
	t.Helper()
	topology, err := stream.NewTopology(s.js, s.config.Streams)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := topology.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return changes
}
