package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// repartition changes the number of partitions, and waits for workers that make no
// progress for as long as wait.
func (s *site) repartition(t *testing.T, partitions int, wait time.Duration) (topology.Repartitioned, error) {
	t.Helper()
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{Prefix: s.config.Streams.Prefix, Partitions: partitions, Wait: wait})
	if err != nil {
		t.Fatal(err)
	}
	return r.Run(t.Context())
}

func (s *site) mustRepartition(t *testing.T, partitions int, want wire.Layout) {
	t.Helper()
	done, err := s.repartition(t, partitions, eventTimeout)
	if err != nil || done.Now != want || !done.Changed {
		t.Fatalf("Run = %+v, %v, want a change to %v", done, err, want)
	}
}

// publishing stores updates of many users, each in its turn, until it is stopped,
// and returns then the sequence of the last.
func (s *site) publishing(t *testing.T) (stop func() uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var last uint64
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			user := fmt.Sprintf("@user%d:example.com", i%20)
			sequence, err := s.insist(context.WithoutCancel(ctx), user, i)
			if err != nil {
				t.Errorf("publish: %v", err)
				return
			}
			last = sequence
		}
	})
	return func() uint64 {
		cancel()
		all.Wait()
		return last
	}
}

// insist publishes until the update is stored, which it is once.
func (s *site) insist(ctx context.Context, user string, mark int) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, time.Second)
		ack, err := s.js.Publish(attempt, s.subjects.Update(presence.MustUserID(user)), []byte(update(user, mark)), jetstream.WithMsgID(strconv.Itoa(mark)))
		end()
		if err == nil {
			return ack.Sequence, nil
		}
		if ctx.Err() != nil {
			return 0, err
		}
	}
}

// awaitCommitted waits until every update that is stored in a layout is committed.
func (s *site) awaitCommitted(t *testing.T, layout wire.Layout) {
	t.Helper()
	subjects := s.subjects.In(layout.Generation)
	for p := range layout.Partitions {
		last, err := s.updatesStream(t).GetLastMsgForSubject(t.Context(), subjects.PartitionUpdates(p))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("commit of partition %d of %v", p, layout), func() bool {
			m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), subjects.Checkpoint(p))
			if err != nil {
				return false
			}
			c, err := wire.DecodeCheckpoint(m.Data)
			return err == nil && !c.Time.Before(last.Time) && c.After.IsZero()
		})
	}
}

// More partitions, then fewer, with two workers and updates that never stop.
func TestRepartition(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	workers := []*worker{s.start(t, toEach(t, alice)), s.start(t, toEach(t, alice))}
	stop := s.publishing(t)
	for i, partitions := range []int{6, 2} {
		s.mustRepartition(t, partitions, wire.Layout{Generation: i + 1, Partitions: partitions})
		s.awaitShares(t, partitions/2, workers...)
	}
	last := stop()
	s.awaitCommitted(t, wire.Layout{Generation: 2, Partitions: 2})
	for _, w := range workers {
		w.stop(t)
	}
	wantEachOnce(t, s.deliveries(t), last)
	if done, err := s.repartition(t, 2, time.Second); err != nil || done.Changed {
		t.Errorf("Run again = %+v, %v, want no change", done, err)
	}
}

// Three replicas: while the transform changes there is one, and the others come back
// as a new Raft group, whose log has nothing of the time before.
func TestRepartitionOfReplicas(t *testing.T) {
	t.Parallel()
	config := testConfig()
	config.Streams.Partitions, config.Streams.Replicas = sharedPartitions, 3
	servers := natstest.RunCluster(t, 3)
	s := newSiteOn(t, servers[0], config)
	w := s.start(t, toEach(t, alice))
	stop := s.publishing(t)
	group := s.updatesStream(t).CachedInfo().Cluster.RaftGroup
	for i, partitions := range []int{6, 2} {
		s.mustRepartition(t, partitions, wire.Layout{Generation: i + 1, Partitions: partitions})
		before := group
		if group = s.updatesStream(t).CachedInfo().Cluster.RaftGroup; group == before {
			t.Errorf("the updates stream still has the Raft group %s, whose log is of both layouts", group)
		}
	}
	last := stop()
	s.awaitCommitted(t, wire.Layout{Generation: 2, Partitions: 2})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
	if info := s.updatesStream(t).CachedInfo(); info.Config.Replicas != 3 {
		t.Errorf("the updates stream has %d replicas, want 3 as before", info.Config.Replicas)
	}

	servers[2].Shutdown()
	eventually(t, "a change that does not begin without a server", func() bool {
		if !s.lacksReplica(t) {
			return false
		}
		_, err := s.repartition(t, 6, time.Nanosecond)
		return err != nil && strings.Contains(err.Error(), "is not current")
	})
}

// lacksReplica reports whether a replica of the updates stream is known to be offline.
func (s *site) lacksReplica(t *testing.T) bool {
	t.Helper()
	updates, err := s.js.Stream(t.Context(), s.subjects.UpdatesStream())
	return err == nil && slices.ContainsFunc(updates.CachedInfo().Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return p.Offline })
}

// Updates that nobody commits keep the command waiting; it goes on when it is run
// again, and nothing else may come between.
func TestRepartitionGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.publishToAll(t, 0, 2)
	_, err := s.repartition(t, 6, time.Nanosecond)
	if err == nil || !strings.Contains(err.Error(), "4 of 4 partitions are left") || !strings.Contains(err.Error(), "run the command again") {
		t.Fatalf("Run without a worker = %v, want that partitions are left", err)
	}
	last := s.publishToAll(t, 2, 2) // stored in the new layout
	if _, err := s.repartition(t, 8, time.Nanosecond); !errors.Is(err, topology.ErrRefused) || !strings.Contains(err.Error(), "from 4 to 6") {
		t.Errorf("Run to another number = %v, want that the first one is refused to be left", err)
	}
	w := s.start(t, toEach(t, alice))
	s.awaitCommitted(t, wire.Layout{Partitions: sharedPartitions})
	if status := s.status(t); len(status.Partitions) != sharedPartitions {
		t.Errorf("status shows %d partitions, want those that are served", len(status.Partitions))
	}
	if h := s.heartbeat(t, w.ID()); h.Generation != 0 || len(h.Partitions) != sharedPartitions {
		t.Errorf("the worker serves %v of generation %d, want all of the old layout", h.Partitions, h.Generation)
	}
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	for _, p := range s.status(t).Partitions {
		if p.Owner != w.ID() {
			t.Errorf("status shows %q as the owner of partition %d, want %q", p.Owner, p.Number, w.ID())
		}
	}
	wantEachOnce(t, s.deliveries(t), last)
}

// A worker takes the layout from the deployment, whatever it is configured with,
// and neither it nor a stream that has to be made anew changes that.
func TestLayoutStays(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
	w := s.start(t, toEach(t, alice))
	if !strings.Contains(w.log.String(), "another number of partitions than streams.partitions") {
		t.Error("the worker does not say that the deployment is not as configured")
	}
	s.publishToAll(t, 0, 1)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 2})

	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	const want = "presence.update-g1.{{partition(2,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"
	if got := s.updatesStream(t).CachedInfo().Config.SubjectTransform.Destination; got != want {
		t.Errorf("updates are stored as %s, want %s", got, want)
	}
	s.publishToAll(t, 1, 1)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 2})
}

// The stream knows its layout, should the bucket of workers be lost.
func TestLayoutWithoutRecord(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.mustRepartition(t, 2, wire.Layout{Generation: 1, Partitions: 2})
	if err := s.js.DeleteStream(t.Context(), s.subjects.WorkersStream()); err != nil {
		t.Fatal(err)
	}
	w := s.start(t, toEach(t, alice))
	s.awaitShares(t, 2, w)
	s.publishToAll(t, 0, 1)
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 2})
	s.mustRepartition(t, 3, wire.Layout{Generation: 2, Partitions: 3})
}

// The stream of newest states has the updates of every generation, and so have
// queries.
func TestStateOfEveryGeneration(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.start(t, toEach(t, alice))
	for generation := range 3 {
		if generation > 0 {
			s.mustRepartition(t, 4+generation, wire.Layout{Generation: generation, Partitions: 4 + generation})
		}
		s.publish(t, bob, generation)
		s.awaitState(t, bob, update(bob, generation))
		page := s.currentStates(t, wire.CurrentStatesRequest{Users: userIDs(bob)})
		if len(page.States) != 1 || string(page.States[0].State.Published().JSON) != update(bob, generation) {
			t.Errorf("in generation %d the current states of bob are %v, want the newest", generation, page.States)
		}
	}
}

func TestRepartitionRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, partitions := range []int{0, 257} {
		_, err := topology.NewRepartition(s.js, topology.RepartitionConfig{Prefix: "presence", Partitions: partitions})
		if err == nil || !strings.Contains(err.Error(), "1 to 256") {
			t.Errorf("NewRepartition to %d = %v, want the bounds", partitions, err)
		}
	}
}
