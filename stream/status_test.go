package stream_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

func (s *site) status(t *testing.T) status.Status {
	t.Helper()
	status, err := status.Read(t.Context(), s.nc, s.config.Streams.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// awaitStatus waits until the status is as it should be.
func (s *site) awaitStatus(t *testing.T, what string, fits func(status.Status) bool) status.Status {
	t.Helper()
	var status status.Status
	eventually(t, what, func() bool {
		status = s.status(t)
		return fits(status)
	})
	return status
}

func TestStatusWithoutWorkers(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	for range 3 {
		s.publish(t, userIn(t, 2), 1)
	}
	got := s.status(t)
	if len(got.Workers) != 0 || len(got.Partitions) != sharedPartitions || len(got.DeadLetters) != 0 {
		t.Fatalf("status is %+v, want 4 partitions and nothing else", got)
	}
	for i, p := range got.Partitions {
		want := status.Partition{Number: i}
		if i == 2 {
			want.Pending, want.OldestPending = 3, p.OldestPending
		}
		if p != want {
			t.Errorf("partition %d is %+v, want %+v", i, p, want)
		}
	}
	want := []string{"No worker is running.", "No worker has partitions 0, 1, 2, 3."}
	if got := got.Warnings(time.Hour); !slices.Equal(got, want) {
		t.Errorf("warnings are %q, want %q", got, want)
	}
}

func TestStatusOfWorkers(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	first := s.start(t, toEach(t, alice), stream.WithIdentity("v1", "aaa"))
	second := s.start(t, toEach(t, alice), stream.WithIdentity("v2", "bbb"))
	third := s.start(t, toEach(t, alice), stream.WithIdentity("v1", "aaa"))
	last := s.publishToAll(t, 0, 5)
	s.publishRaw(t, s.subjects.Update(presence.MustUserID(userIn(t, 3))), "nonsense", nil)
	got := s.awaitStatus(t, "status of 3 workers that have done everything", func(status status.Status) bool {
		for _, p := range status.Partitions {
			if p.Owner == "" || p.Owner != p.CommittedBy || p.Pending > 0 || p.Sequence == 0 {
				return false
			}
		}
		return len(status.Workers) == 3 && len(status.DeadLetters) > 0
	})
	for _, p := range got.Partitions {
		if p.OldestPending != 0 || p.Resumes || p.Epoch == 0 || p.Sequence < last-3 {
			t.Errorf("partition %d is %+v, want it done by its owner up to about %d", p.Number, p, last)
		}
	}
	if want := map[wire.Reason]uint64{wire.Malformed: 1}; !reflect.DeepEqual(got.DeadLetters, want) {
		t.Errorf("dead letters are %v, want %v", got.DeadLetters, want)
	}
	wantWorkers(t, got, map[string]status.Worker{
		first.ID():  {Version: "v1", ConfigHash: "aaa"},
		second.ID(): {Version: "v2", ConfigHash: "bbb", ConfigDiffers: true},
		third.ID():  {Version: "v1", ConfigHash: "aaa"},
	})
	if newest := got.NewestDead; newest == nil || newest.Reason != wire.Malformed || newest.Time.IsZero() {
		t.Errorf("the newest dead letter is %+v, want a malformed one", newest)
	}
	got.NewestDead.Time = got.Time.Add(-16 * time.Minute)
	want := []string{fmt.Sprintf("Not every worker has the configuration aaa: %s. In a rollout that passes.", second.ID())}
	if got := got.Warnings(time.Hour); !slices.Equal(got, want) {
		t.Errorf("warnings are %q, want %q", got, want)
	}
}

// wantWorkers compares versions and configurations, and that each has a share.
func wantWorkers(t *testing.T, status status.Status, want map[string]status.Worker) {
	t.Helper()
	for _, w := range status.Workers {
		expected := want[w.ID]
		if w.Version != expected.Version || w.ConfigHash != expected.ConfigHash || w.ConfigDiffers != expected.ConfigDiffers {
			t.Errorf("worker is %+v, want %+v", w, expected)
		}
		if w.Leaving || len(w.Partitions) == 0 || w.Started.IsZero() || w.HeardAgo < 0 {
			t.Errorf("worker is %+v, want one that has a share", w)
		}
	}
}

func TestStatusTellsRates(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.start(t, toEach(t, alice))
	mark := 0
	s.awaitStatus(t, "rates of a worker and its partitions", func(status status.Status) bool {
		mark++
		s.publish(t, userIn(t, 1), mark)
		w := status.Workers[0]
		return w.UpdatesPerSecond > 0 && w.DeliveriesPerSecond > 0 &&
			status.Partitions[1].UpdatesPerSecond == w.UpdatesPerSecond && status.Partitions[0].UpdatesPerSecond == 0
	})
}

func TestStatusOfBacklog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := newHeld()
	w := s.startWith(t, []routing.Registration{{Name: "held", Router: h.router(t), Timeout: eventTimeout}})
	s.publishMany(t, 0, 10)
	await(t, h.asked, "call of the router")
	got := s.awaitStatus(t, "backlog of 10", func(status status.Status) bool {
		p := status.Partitions[0]
		return p.Pending == 10 && p.OldestPending > 0.1 && p.Owner == w.ID()
	})
	if got := got.Warnings(100 * time.Millisecond); len(got) != 1 {
		t.Errorf("warnings are %q, want one about the backlog", got)
	}
	close(h.release)
	s.awaitStatus(t, "no backlog", func(status status.Status) bool { return status.Partitions[0].Pending == 0 })
}

// A worker that was not heard for its TTL is none, whatever it said. Of two that say
// they have a partition, the last to claim it has it.
func TestStatusWithoutMissedWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	beats := map[string]string{
		"gone": `{"worker":"gone","instance":"i","ttl_ms":1,"config_hash":"aaa","partitions":[0,1,99],"claims":[7,8,9]}`,
		"here": `{"worker":"here","instance":"i","ttl_ms":3600000,"config_hash":"bbb","partitions":[1,2],"claims":[3,4],"partition_updates_per_second":[1.5,0]}`,
		"late": `{"worker":"late","instance":"i","ttl_ms":3600000,"config_hash":"bbb","partitions":[2],"claims":[5]}`,
		"odd":  `nonsense`,
	}
	for worker, beat := range beats {
		if _, err := s.js.Publish(t.Context(), s.subjects.Heartbeat(worker), []byte(beat)); err != nil {
			t.Fatal(err)
		}
	}
	status := s.awaitStatus(t, "status of the 2 workers that are there", func(status status.Status) bool { return len(status.Workers) == 2 })
	var owners []string
	for _, p := range status.Partitions {
		owners = append(owners, p.Owner)
	}
	if want := []string{"", "here", "late", ""}; !slices.Equal(owners, want) {
		t.Errorf("owners are %q, want %q", owners, want)
	}
	if status.ConfigHash != "bbb" || status.Partitions[1].UpdatesPerSecond != 1.5 {
		t.Errorf("status is %+v, want config hash bbb and 1.5 updates/s in partition 1", status)
	}
}

func TestStatusOfStreamMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	w.stop(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	s.publishMany(t, 5, 3)
	if p := s.status(t).Partitions[0]; !p.Resumes || p.Pending != 3 || p.Sequence != 5 {
		t.Errorf("partition is %+v, want 3 updates pending in another stream", p)
	}
}

func TestReadStatusRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := status.Read(t.Context(), s.nc, "Bad Prefix"); err == nil {
		t.Error("ReadStatus takes any prefix")
	}
	if _, err := status.Read(t.Context(), s.nc, "other"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("ReadStatus without streams = %v, want %v", err, jetstream.ErrStreamNotFound)
	}
	if _, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FOREIGN_UPDATES", Subjects: []string{"foreign"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := status.Read(t.Context(), s.nc, "foreign"); err == nil {
		t.Error("ReadStatus takes any stream")
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	live := status.Worker{ID: "w1"}
	owned := func(n int, more status.Partition) status.Partition {
		more.Number, more.Owner = n, "w1"
		return more
	}
	many := make([]status.Partition, 12)
	for i := range many {
		many[i].Number = i
	}
	tests := []struct {
		name   string
		status status.Status
		want   []string
	}{
		{"all well", status.Status{Workers: []status.Worker{live}, Partitions: []status.Partition{owned(0, status.Partition{Pending: 9, OldestPending: 10})}}, nil},
		{
			"many without owner",
			status.Status{Workers: []status.Worker{live}, Partitions: many},
			[]string{"No worker has partitions 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more."},
		},
		{
			"stream made again",
			status.Status{Workers: []status.Worker{live}, Partitions: []status.Partition{{Resumes: true}, owned(1, status.Partition{Resumes: true})}},
			[]string{"No worker has partition 0.", "The updates stream was made again, and no worker has gone on in it with partition 0 yet."},
		},
		{
			"new dead letters",
			status.Status{
				Workers: []status.Worker{live}, Time: time.Unix(100, 0), DeadLetters: map[wire.Reason]uint64{wire.Malformed: 2, wire.TooLarge: 7},
				NewestDead: &status.NewestDeadLetter{Reason: wire.TooLarge, Time: time.Unix(97, 0)},
			},
			[]string{"9 dead letters are kept, the newest (too_large) stored 3s ago: router-worker dead list shows why."},
		},
		{
			"old dead letters",
			status.Status{
				Workers: []status.Worker{live}, Time: time.Unix(10000, 0), DeadLetters: map[wire.Reason]uint64{wire.Malformed: 2},
				NewestDead: &status.NewestDeadLetter{Time: time.Unix(97, 0)},
			},
			nil,
		},
		{
			"backlog",
			status.Status{Workers: []status.Worker{live}, Partitions: []status.Partition{
				owned(0, status.Partition{Pending: 9, OldestPending: 11}), owned(1, status.Partition{Pending: 500, OldestPending: 75.25}),
			}},
			[]string{"Updates have been waiting for longer than 10s in partitions 0, 1; the oldest for 1m15.3s, one of 500 in partition 1."},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.status.Warnings(10 * time.Second); !slices.Equal(got, tt.want) {
				t.Errorf("warnings are %q, want %q", got, tt.want)
			}
		})
	}
}
