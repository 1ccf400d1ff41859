package stream_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

func toNobody(context.Context, states) (answer, error) { return nil, nil }

func TestPositionIsCommittedThoughNobodyReceives(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, routerOf(t, toNobody))
	last := s.publishMany(t, 0, 5)
	stored, err := s.updatesStream(t).GetMsg(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	c := s.awaitPosition(t, last)
	if !c.Time.Equal(stored.Time) || !c.Created.Equal(s.updatesStream(t).CachedInfo().Created) || c.Worker != w.ID() || c.Commit == "" {
		t.Errorf("checkpoint is %+v, want the time %v and worker %s", c, stored.Time, w.ID())
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 0)
}

// Nothing is due within the test, so that only the end of the worker, or the next
// delivery, commits the position.
func TestIdlePositionWaits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		next bool
	}{
		{"for the end", false},
		{"for the next delivery", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBothWays(t, func(t *testing.T, fastIngest bool) {
				t.Helper()
				t.Parallel()
				testIdlePositionWaits(t, fastIngest, tt.next)
			})
		})
	}
}

func testIdlePositionWaits(t *testing.T, fastIngest, next bool) {
	t.Helper()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.FastIngest = fastIngest
		c.Worker.CheckpointInterval = time.Minute
	})
	routed := make(chan int, 10)
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		routed <- len(batch)
		if batch[0].UserID == presence.MustUserID(bob) {
			return nil, nil
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	}))
	last := s.publish(t, bob, 1)
	await(t, routed, "call of the router")
	if next {
		last = s.publish(t, "@dave:example.com", 2)
		s.awaitPosition(t, last)
	}
	if c, _ := s.checkpoint(t, 0); !next && c.Sequence != 0 {
		t.Errorf("position is %d before it is due, want 0", c.Sequence)
	}
	w.stop(t)
	if c, _ := s.checkpoint(t, 0); c.Sequence != last {
		t.Errorf("position is %d after the end, want %d", c.Sequence, last)
	}
}

// inSharedCommits has partitions share atomic batches, and no commit begun but for
// deliveries: the first one is that of the first update.
func inSharedCommits(c *stream.Config) {
	c.Streams.Deliveries.FastIngest = false
	c.Worker.CheckpointInterval = time.Minute
}

// Partitions that are ready while a commit is in flight share the next one.
func TestPartitionsShareCommits(t *testing.T) {
	t.Parallel()
	const partitions = 8
	s := newSite(t, inSharedCommits, func(c *stream.Config) { c.Streams.Partitions = partitions })
	s.url = startProxy(t, s.url, &proxy{fromServer: onNth(1, isCommitAnswer, swallow)})
	watch := s.watchCheckpoints(t)
	last := make(map[int]uint64)
	for i := range 100 {
		user := fmt.Sprintf("@user%d:example.com", i)
		last[wire.Partition(presence.MustUserID(user), partitions)] = s.publish(t, user, i)
	}
	w := s.start(t, toEach(t, alice))
	commits := make(map[string][]int)
	for len(last) > 0 {
		m := await(t, watch, "checkpoint")
		_, p, err := s.subjects.ParseCheckpoint(m.Subject)
		if err != nil {
			t.Fatal(err)
		}
		c, err := wire.DecodeCheckpoint(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		commits[c.Commit] = append(commits[c.Commit], p)
		if c.Sequence == last[p] {
			delete(last, p)
		}
	}
	w.stop(t)
	most := 0
	for id, shared := range commits {
		if slices.Sort(shared); len(slices.Compact(slices.Clone(shared))) != len(shared) {
			t.Errorf("commit %s holds more than one checkpoint of a partition: %v", id, shared)
		}
		most = max(most, len(shared))
	}
	if most < 2 {
		t.Errorf("every commit is of one partition, want some that are shared: %v", commits)
	}
	// Deliveries of one commit stand together, before its checkpoints.
	wantNoGap(t, s.deliveries(t))
}

func wantNoGap(t *testing.T, deliveries []delivery) {
	t.Helper()
	seen := make(map[uint64]bool)
	for _, d := range deliveries {
		for _, sequence := range d.Sequences {
			if seen[sequence] {
				t.Errorf("update %d is delivered twice", sequence)
			}
			seen[sequence] = true
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d updates are delivered, want 100", len(seen))
	}
}

// Two partitions that together have one message more than a commit takes do not
// share it.
func TestCommitIsNotOverfilled(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, inSharedCommits, func(c *stream.Config) { c.Streams.Partitions = partitions })
	other := otherPartition(t, partitions)
	s.url = startProxy(t, s.url, &proxy{fromServer: onNth(1, isCommitAnswer, swallow)})
	all := readers(500)
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for i, r := range all {
			if marks(batch)[0] == 1 && i > 0 || batch[0].UserID == presence.MustUserID(other) && i == 0 {
				continue // one recipient for the first update, 500 for bob's second, 499 for the other's
			}
			a[presence.MustUserID(r)] = batch
		}
		return a, nil
	}))
	s.publish(t, bob, 1)
	s.awaitPositionOf(t, bob, 1) // Its answer is lost: the next two are ready before that is settled.
	second, third := s.publish(t, bob, 2), s.publish(t, other, 3)
	s.awaitPositionOf(t, bob, second)
	s.awaitPositionOf(t, other, third)
	w.stop(t)
	if got := len(s.deliveries(t)); got != 1+500+499 {
		t.Errorf("%d deliveries, want 1000", got)
	}
}

// A small unit that would still fit a commit does not go before a large one of its
// partition that does not.
func TestCommitsKeepTheOrderOfAPartition(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, inSharedCommits, func(c *stream.Config) {
		c.Streams.Partitions = partitions
		c.Worker.Batch = 1
	})
	other := otherPartition(t, partitions)
	s.url = startProxy(t, s.url, &proxy{fromServer: onNth(1, isCommitAnswer, swallow)})
	all := readers(900)
	recipients := map[int64]int{1: 1, 2: 600, 3: 900, 4: 1} // by mark
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, r := range all[:recipients[marks(batch)[0]]] {
			a[presence.MustUserID(r)] = batch
		}
		return a, nil
	}))
	s.publish(t, other, 1)
	s.awaitPositionOf(t, other, 1) // Its answer is lost: the others are ready before that is settled.
	last := s.publishMany(t, 1, 3)
	s.awaitPositionOf(t, bob, last)
	w.stop(t)
	if got := fmt.Sprint(sequences(s.deliveries(t))[all[0]]); got != "[1 2 3 4]" {
		t.Errorf("%s received %s, want [1 2 3 4]", all[0], got)
	}
	if c, _ := s.checkpoint(t, wire.Partition(presence.MustUserID(bob), partitions)); c.Sequence != last {
		t.Errorf("position is %d at the end, want %d", c.Sequence, last)
	}
}

func TestCheckpointCarriesNoHeaderOfDeliveries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishTraced(t, 1))
	w.stop(t)
	m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), s.subjects.Checkpoint(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{wire.SourceHeader, "traceparent"} {
		if got := m.Header.Get(name); got != "" {
			t.Errorf("checkpoint has header %s: %s", name, got)
		}
	}
}

// Neither the checkpoint of a commit nor the one of a claim expires.
func TestCheckpointOutlivesMaxAge(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Partitions = partitions
		c.Streams.Deliveries.MaxAge = time.Second
	})
	w := s.start(t, toEach(t, alice))
	last := s.publish(t, bob, 1)
	s.awaitPositionOf(t, bob, last)
	w.stop(t)
	eventually(t, "end of the delivery", func() bool { return s.deliveriesStream(t).CachedInfo().State.Msgs <= partitions })
	for p := range partitions {
		want := uint64(0)
		if p == wire.Partition(presence.MustUserID(bob), partitions) {
			want = last
		}
		if c, sequence := s.checkpoint(t, p); sequence == 0 || c.Sequence != want {
			t.Errorf("checkpoint of partition %d is %+v, want that it outlives the delivery", p, c)
		}
	}
}
