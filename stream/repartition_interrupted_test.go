package stream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
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
	if got := s.plan(t); len(got) != 1 || got[0].Action != topology.Keep || got[0].Have != "4" || got[0].Reason != "a c"+what+remedy {
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
	s.recordChange(t)
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

// recordChange records a change to 6 partitions as the command does that begins it.
func (s *site) recordChange(t *testing.T) {
	t.Helper()
	data, err := wire.LayoutRecord{
		Serving: wire.Layout{Partitions: sharedPartitions},
		Move:    &wire.LayoutMove{To: wire.Layout{Generation: 1, Partitions: 6}, Created: s.updatesStream(t).CachedInfo().Created, Replicas: 1},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.publishRaw(t, s.subjects.LayoutRecord(), string(data), nil)
}

func (s *site) plan(t *testing.T) []topology.Change {
	t.Helper()
	topology, err := topology.New(s.js, s.config.Streams)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := topology.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// A change of partitions waits for the last update of every partition, also if no
// worker is there that could route it.
func TestRepartitionWaitsForTheLastUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared, func(c *stream.Config) {
		c.Worker.TTL = time.Second
		c.Worker.StopTimeout = 100 * time.Millisecond
	})
	killed := s.start(t, toEach(t, alice))
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	killed.kill(t)
	last := s.publish(t, userIn(t, 3), 4)
	_, err := s.repartition(t, 6, time.Nanosecond)
	want := fmt.Sprintf("committed up to update %d, its last one is %d", last-1, last)
	if err == nil || !strings.Contains(err.Error(), "1 of 4 partitions are left") || !strings.Contains(err.Error(), want) {
		t.Fatalf("Run with an update that is not committed = %v, want that it waits: %s", err, want)
	}
	s.config.Worker.StopTimeout = eventTimeout
	w := s.start(t, toEach(t, alice))
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	last = s.publish(t, userIn(t, 3), 5)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// Once the updates stream went back, the epoch is later than the stream is old. So it
// is of the new partitions: readers drop what is of an earlier one.
func TestRepartitionKeepsTheEpoch(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 3))
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.awaitPosition(t, s.publishMany(t, 3, 2))
	w.stop(t)
	s.restore(t, s.subjects.UpdatesStream(), copied)
	w = s.start(t, toEach(t, alice))
	created := s.updatesStream(t).CachedInfo().Created.UnixMilli()
	s.publishMany(t, 10, 3)
	epoch := s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Epoch > created && c.Sequence == 6 }).Epoch
	s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
	s.publishMany(t, 20, 2)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 2})
	w.stop(t)
	found := epochs(s.deliveries(t))
	if len(found) != 10 {
		t.Fatalf("%d states were delivered, want 10", len(found))
	}
	for i, got := range found[5:] {
		if got != epoch {
			t.Errorf("state %d was delivered in epoch %d, want %d as before the change", 5+i, got, epoch)
		}
	}
}

// The checkpoints are of an updates stream that is gone: they tell of no update of the
// one there is, though its sequences are lower.
func TestRepartitionAfterTheUpdatesStreamWasMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	w := s.start(t, toEach(t, alice))
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	w.stop(t)
	s.remakeUpdates(t)
	s.publishToAll(t, 3, 1)
	if _, err := s.repartition(t, 6, time.Nanosecond); err == nil || !strings.Contains(err.Error(), "4 of 4 partitions are left") {
		t.Errorf("Run with updates of a new stream = %v, want that it waits for 4 partitions", err)
	}
	w = s.start(t, toEach(t, alice))
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	received := sequences(s.deliveries(t))[alice]
	slices.Sort(received)
	if want := []uint64{1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12}; !slices.Equal(received, want) {
		t.Errorf("%s received %v, want 12 updates of the first stream and 4 of the second", alice, received)
	}
}

// The checkpoints are from before the updates stream went back: they tell of no update
// that was stored since, though its sequence is not higher.
func TestRepartitionAfterTheUpdatesStreamWentBack(t *testing.T) {
	t.Parallel()
	for more, reason := range map[int]string{
		2: "update 6 of another history, as the stream lost its newest updates",
		4: "update 6 of another history, as the stream holds another update",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, onFile)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 2))
			copied := s.backUp(t, s.subjects.UpdatesStream())
			s.awaitPosition(t, s.publishMany(t, 2, 4))
			w.stop(t)
			s.restore(t, s.subjects.UpdatesStream(), copied)
			last := s.publishMany(t, 6, more)
			if _, err := s.repartition(t, 2, time.Nanosecond); err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("Run = %v, want that it waits and says %q", err, reason)
			}
			w = s.start(t, toEach(t, alice))
			s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
			w.stop(t)
			want := []uint64{1, 2, 3, 4, 5, 6}
			for sequence := uint64(3); sequence <= last; sequence++ {
				want = append(want, sequence)
			}
			if received := sequences(s.deliveries(t))[alice]; !slices.Equal(received, want) {
				t.Errorf("%s received %v, want %v", alice, received, want)
			}
		})
	}
}

// An update that is committed up to a recipient is not committed.
func TestRepartitionWaitsForTheLastRecipient(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Worker.StopTimeout, c.Worker.CommitTimeout = 200*time.Millisecond, 200*time.Millisecond
	})
	all := readers(2500)
	s.stopBetweenSlices(t, all)
	if _, err := s.repartition(t, 2, time.Nanosecond); err == nil || !strings.Contains(err.Error(), "1 of 1 partition is left") {
		t.Errorf("Run = %v, want that it waits for 1 partition", err)
	}
	s.config.Worker.StopTimeout, s.config.Worker.CommitTimeout = eventTimeout, eventTimeout
	w := s.start(t, toEach(t, all...))
	s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 1, all...)
}

// repartitionWith changes the number of partitions to 6, and calls do once when it has
// come to a step.
func (s *site) repartitionWith(t *testing.T, at topology.Progress, do func()) error {
	t.Helper()
	did := false
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{
		Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: time.Second,
		Progress: func(p topology.Progress) {
			if p == at && !did {
				did = true
				do()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context())
	if !did {
		t.Errorf("Run = %v, want that it comes to %v", err, at)
	}
	return err
}

// The server uses the new layout for one update, and then the old one again, as it does
// when it is restarted after it could not write the change down.
func TestRepartitionTellsWhatIsOvertaken(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	w := s.start(t, toEach(t, alice))
	s.awaitAll(t, s.publishToAll(t, 0, 1))
	var first, last uint64
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{
		Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: eventTimeout,
		Progress: func(p topology.Progress) {
			if p.Step == topology.Switch {
				s.storeIn(t, wire.Layout{Generation: 1, Partitions: 6})
				first = s.publish(t, bob, 2)
				s.storeIn(t, wire.Layout{Partitions: sharedPartitions})
				last = s.publish(t, bob, 3)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if done, err := r.Run(t.Context()); err != nil || done.Overtaken != first {
		t.Errorf("Run = %+v, %v, want that update %d is overtaken", done, err, first)
	}
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	got := sequences(s.deliveries(t))[alice]
	if n := len(got); n != int(last) || got[n-2] != last || got[n-1] != first {
		t.Errorf("%s received %v, want 1 to %d, and %d at the end", alice, got, last, first)
	}
}

// storeIn has the server store updates in a layout.
func (s *site) storeIn(t *testing.T, layout wire.Layout) {
	t.Helper()
	config := s.updatesStream(t).CachedInfo().Config
	config.SubjectTransform.Destination = s.subjects.In(layout.Generation).UpdateTransform(layout.Partitions)
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// Workers that are not told of a change do not wait for its end: then updates are not
// stored in the new layout either.
func TestRepartitionThatIsNotTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	before := s.updatesStream(t).CachedInfo().Config.SubjectTransform
	err := s.repartitionWith(t, topology.Progress{Step: topology.Switch, Total: 6}, func() {
		data, err := wire.LayoutRecord{Serving: wire.Layout{Partitions: sharedPartitions}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		s.publishRaw(t, s.subjects.LayoutRecord(), string(data), nil)
	})
	if err == nil {
		t.Error("Run = nil, want that the change is not recorded any more")
	}
	if after := s.updatesStream(t).CachedInfo().Config.SubjectTransform; *after != *before {
		t.Errorf("updates are stored as %+v, want %+v as before", after, before)
	}
}
