package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

func (s *site) newRepair(t *testing.T, from topology.From) *topology.Repair {
	t.Helper()
	r, err := topology.NewRepair(s.js, topology.RepairConfig{Prefix: s.config.Streams.Prefix, From: from})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// repair repairs n things, after a look that is to show the same.
func (s *site) repair(t *testing.T, n int, from topology.From) []topology.Mend {
	t.Helper()
	r := s.newRepair(t, from)
	planned, err := r.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done, err := r.Apply(t.Context())
	if err != nil || len(done) != n || len(planned) != n {
		t.Fatalf("Plan = %v, Apply = %v, %v, want %d repairs", planned, done, err, n)
	}
	if left, err := r.Plan(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("after the repair, Plan = %v, %v, want nothing", left, err)
	}
	return done
}

// Checkpoints are written again as workers wrote them, without any worker.
func TestRepairOfForgedCheckpoints(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.awaitAll(t, s.publishToAll(t, 0, 5))
	w.stop(t)
	var before []wire.Checkpoint
	for p := range sharedPartitions {
		c, _ := s.checkpoint(t, p)
		before = append(before, c)
	}
	s.forgeAll(t, 6)
	for p := range sharedPartitions {
		s.awaitForged(t, p)
	}
	for _, m := range s.repair(t, sharedPartitions, "") {
		if m.What != "checkpoint" || !strings.Contains(m.Reason, "Nats-Rollup is missing") || !strings.Contains(m.Write, "at update") {
			t.Errorf("repair is %+v, want a checkpoint, what is wrong and what is written", m)
		}
	}
	s.wantRepaired(t)
	for p, want := range before {
		if c, _ := s.checkpoint(t, p); c != want {
			t.Errorf("checkpoint of partition %d is %+v, want it as it was: %+v", p, c, want)
		}
	}
	w = s.start(t, toEach(t, alice))
	last := s.publishToAll(t, 6, 5)
	s.awaitAll(t, last)
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
	w.log.want(t, 0, foreignLine)
}

// A checkpoint that is repaired within a batch tells of the batch as before.
func TestRepairWithinABatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(5)
	s.publishMany(t, 0, 10)
	first, b := s.holdBefore(t, 4, makingUp(t, all...))
	s.forge(t, s.subjects.Checkpoint(0), bob, 11)
	s.awaitForged(t, 0)
	s.repair(t, 1, "")
	last := s.publishMany(t, 11, 10)
	s.finish(t, first, b, last, makingUp(t, all...))
	s.wantEverythingOnce(t, 1, last, all...)
}

// If no checkpoint is left, it is to be said where the partition begins.
func TestRepairOfAReplacedCheckpoint(t *testing.T) {
	t.Parallel()
	for from, first := range map[topology.From]uint64{topology.FromOldest: 1, topology.FromNewest: 11, "5": 5, "11": 11} {
		t.Run(string(from), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.publishMany(t, 0, 10)
			s.replaceCheckpoint(t)
			mends, err := s.newRepair(t, "").Apply(t.Context())
			if !errors.Is(err, topology.ErrRefused) || len(mends) != 1 || !strings.Contains(mends[0].Refused, "--from") {
				t.Fatalf("Apply = %v, %v, want that a choice is needed", mends, err)
			}
			s.repair(t, 1, from)
			w := s.start(t, toEach(t, alice))
			last := s.publishMany(t, 10, 3)
			s.awaitPosition(t, last)
			w.stop(t)
			wantOnce(t, s.deliveries(t), first, last, alice)
			w.log.want(t, 0, "updates stream is not the one known")
		})
	}
	for _, from := range []topology.From{"0", "first", "-1"} {
		if _, err := topology.NewRepair(newSite(t).js, topology.RepairConfig{Prefix: "presence", From: from}); err == nil || !strings.Contains(err.Error(), "want oldest, newest") {
			t.Errorf("NewRepair from %q = %v, want a complaint", from, err)
		}
	}
	s := newSite(t)
	s.replaceCheckpoint(t)
	if _, err := s.newRepair(t, "2").Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "at most 1") {
		t.Errorf("Plan from an update to come = %v, want the bound", err)
	}
}

// forgeLayout has an acknowledgement stored in place of the layout record. A worker
// may have written the record again by the time it returns.
func (s *site) forgeLayout(t *testing.T, mark int) {
	t.Helper()
	before := s.layoutRevision(t)
	s.forge(t, s.subjects.LayoutRecord(), bob, mark)
	eventually(t, "forged layout record", func() bool { return s.layoutRevision(t) > before })
}

// layoutRevision returns the sequence of the layout record, 0 if there is none.
func (s *site) layoutRevision(t *testing.T) uint64 {
	t.Helper()
	m, err := s.stream(t, s.subjects.WorkersStream()).GetLastMsgForSubject(t.Context(), s.subjects.LayoutRecord())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Sequence
}

// awaitLayout waits until the layout record is one of layout.
func (s *site) awaitLayout(t *testing.T, layout wire.Layout) {
	t.Helper()
	eventually(t, "layout record of "+layout.String(), func() bool {
		m, err := s.stream(t, s.subjects.WorkersStream()).GetLastMsgForSubject(t.Context(), s.subjects.LayoutRecord())
		if err != nil {
			return false
		}
		r, err := wire.DecodeLayoutRecord(m.Data)
		return err == nil && r == wire.LayoutRecord{Serving: layout}
	})
}

// Workers know the layout without its record, and write that again.
func TestForgedLayoutRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 3))
	s.forgeLayout(t, 4)
	s.awaitLayout(t, wire.Layout{Partitions: 1})
	first.log.await(t, "in place of the layout record", "from the streams")
	s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
	first.stop(t)
	s.forgeLayout(t, 5)
	if _, err := s.repartition(t, 3, time.Second); !errors.Is(err, topology.ErrRefused) || !strings.Contains(err.Error(), "topology repair") {
		t.Errorf("repartition = %v, want it refused, and the repair named", err)
	}
	if warnings := s.status(t).Warnings(time.Hour); !strings.Contains(strings.Join(warnings, "\n"), "in place of the layout record") {
		t.Errorf("warnings are %q, want one about the layout record", warnings)
	}
	if changes := s.plan(t); len(changes) > 0 && changes[0].Action == topology.Refuse {
		t.Errorf("plan is %v, want nothing refused", changes)
	}
	s.config.Streams.Partitions = 2
	second := s.start(t, toEach(t, alice))
	s.awaitLayout(t, wire.Layout{Generation: 1, Partitions: 2})
	s.publishRaw(t, s.subjects.LayoutRecord(), `{"serving":{"generation":0,"partitions":1}}`, nil)
	s.awaitLayout(t, wire.Layout{Generation: 1, Partitions: 2})
	last := s.publishMany(t, 5, 3)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 2})
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// A layout record that is forged while the number of partitions changes is not
// guessed: no worker serves the new partitions before the old ones are done.
func TestForgedLayoutRecordWithinARepartition(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(*testing.T, *site){
		"no record": func(t *testing.T, s *site) {
			t.Helper()
			s.forgeLayout(t, 10)
		},
		"one from before": func(t *testing.T, s *site) {
			t.Helper()
			s.publishRaw(t, s.subjects.LayoutRecord(), `{"serving":{"generation":0,"partitions":4}}`, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testLayoutRecordWithinARepartition(t, forge)
		})
	}
}

func testLayoutRecordWithinARepartition(t *testing.T, forge func(*testing.T, *site)) {
	t.Helper()
	s := newSite(t, shared)
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	w.stop(t)
	s.publishToAll(t, 3, 3)
	if _, err := s.repartition(t, 6, 0); err == nil {
		t.Fatal("repartition = nil, want that it waits for workers")
	}
	s.publishToAll(t, 6, 3) // which wait
	forge(t, s)
	s.config.Worker.StartTimeout = time.Second
	started := s.newWorkerToAlice(t)
	started.run(t)
	if err := started.wait(t); err == nil || !strings.Contains(err.Error(), "topology repair") {
		t.Errorf("Run = %v, want that it is not known what to serve", err)
	}
	if warnings := s.status(t).Warnings(time.Hour); !strings.Contains(strings.Join(warnings, "\n"), "run router-worker topology repair") {
		t.Errorf("warnings are %q, want one that names the repair", warnings)
	}
	if mends := s.repair(t, 1, ""); !strings.Contains(mends[0].Write, "from 4 partitions of generation 0 is under way") {
		t.Errorf("repair is %+v, want that of the change", mends[0])
	}
	s.config.Worker.StartTimeout = eventTimeout
	w = s.newWorkerToAlice(t)
	w.run(t)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	last := s.updatesStream(t).CachedInfo().State.LastSeq
	wantEachOnce(t, s.deliveries(t), last)
}

// A command whose layout record is forged in its sleep changes nothing.
func TestForgedLayoutRecordStopsTheRepartition(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	s.forge(t, s.subjects.In(7).Checkpoint(3), bob, 100) // no layout is of generation 7
	s.forge(t, "presence.checkpoint.none", bob, 101)
	s.forge(t, s.subjects.In(1).Checkpoint(2), bob, 102) // which the next layout gets
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{
		Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: time.Second,
		Progress: func(p topology.Progress) {
			if p == (topology.Progress{Step: topology.Switch, Total: 6}) {
				s.forgeLayout(t, 103)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(context.WithoutCancel(t.Context())); err == nil {
		t.Error("Run = nil, want that the record is not its own")
	}
	s.awaitLayout(t, wire.Layout{Partitions: sharedPartitions})
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.publishToAll(t, 104, 3)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), s.updatesStream(t).CachedInfo().State.LastSeq)
}

// storeCheckpoint stores a checkpoint of partition as a worker does that is not there.
func (s *site) storeCheckpoint(t *testing.T, partition int, epoch int64) {
	t.Helper()
	c := wire.Checkpoint{Epoch: epoch, Created: s.updatesStream(t).CachedInfo().Created, Worker: "gone", Commit: "gone-1"}
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, &nats.Msg{
		Subject: s.subjects.Checkpoint(partition), Data: wire.AppendCheckpoint(nil, c), Header: nats.Header{"Nats-Rollup": {"sub"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A partition begins again in the newest epoch of the deployment, so that readers know
// repeats.
func TestRepairKnowsTheEpoch(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	epoch := s.updatesStream(t).CachedInfo().Created.UnixMilli() + 5000
	s.storeCheckpoint(t, 2, epoch)
	s.replaceCheckpoint(t)
	s.repair(t, 1, topology.FromOldest)
	if c, _ := s.checkpoint(t, 0); c.Epoch != epoch || c.Sequence != 0 {
		t.Errorf("checkpoint is %+v, want epoch %d from the beginning", c, epoch)
	}
}

// Partitions that no worker has had yet are of the layout too, if they have updates.
// Without any checkpoint of it, nothing is guessed.
func TestRepairOfALayoutThatFewPartitionsWereServedOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	for _, partition := range []int{0, 2, 3} {
		s.publish(t, userIn(t, partition), 1)
	}
	if _, err := s.repartition(t, 6, 0); err == nil {
		t.Fatal("repartition = nil, want that it waits for workers")
	}
	s.forgeLayout(t, 2)
	mends, err := s.newRepair(t, "").Apply(t.Context())
	if !errors.Is(err, topology.ErrRefused) || len(mends) != 1 || !strings.Contains(mends[0].Refused, "no layout before") {
		t.Errorf("Apply = %v, %v, want it refused", mends, err)
	}
	s.storeCheckpoint(t, 0, 0)
	if mends := s.repair(t, 1, ""); !strings.Contains(mends[0].Write, "from 4 partitions of generation 0 is under way") {
		t.Errorf("repair is %+v, want that of 4 partitions", mends[0])
	}
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), s.updatesStream(t).CachedInfo().State.LastSeq)
}

// Without the updates stream and without the record, nothing tells how updates were
// divided: the stream is not made with another number of partitions.
func TestForgedLayoutRecordWithoutUpdatesStream(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mustRepartition(t, 3, wire.Layout{Generation: 1, Partitions: 3})
	s.forgeLayout(t, 1)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	streams, err := topology.New(s.js, s.config.Streams)
	if err != nil {
		t.Fatal(err)
	}
	if changes, err := streams.Apply(t.Context()); !errors.Is(err, topology.ErrRefused) || !strings.Contains(err.Error(), "nothing tells how updates were divided") {
		t.Errorf("Apply = %v, %v, want it refused", changes, err)
	}
}
