package stream_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// says returns a heartbeat of a worker that has partition 0, claimed with the checkpoint
// at the sequence claim.
func says(worker string, claim uint64) wire.Heartbeat {
	return wire.Heartbeat{Worker: worker, Instance: worker, TTL: time.Minute.Milliseconds(), Partitions: []int{0}, Claims: []uint64{claim}}
}

// Of two workers that say they have a partition, the one that claimed it last has
// fenced the other.
func TestHolderIsWhoClaimedLast(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		beats  []wire.Heartbeat
		holder string
	}{
		{"another", []wire.Heartbeat{says("a", 5), says("b", 7), says("self", 6)}, "b"},
		{"another, heard first", []wire.Heartbeat{says("b", 7), says("a", 5), says("self", 6)}, "b"},
		{"this one", []wire.Heartbeat{says("a", 5), says("b", 7), says("self", 8)}, "self"},
		{"one that has not claimed it yet is none", []wire.Heartbeat{says("a", 0), says("self", 3)}, "self"},
		{"nobody", []wire.Heartbeat{{Worker: "self"}, {Worker: "a"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := stream.NewMembership("self", time.Minute)
			for _, h := range tt.beats {
				m.Hear(h, time.Now())
			}
			if got := m.Holders(1); got[0] != tt.holder {
				t.Errorf("holder is %q, want %q", got[0], tt.holder)
			}
		})
	}
}

// A worker waits with a claim until the holder has given the partition up, and for the
// time that a heartbeat counts at most.
func TestClaimWaitsForTheHolder(t *testing.T) {
	t.Parallel()
	const ttl = time.Minute
	now := time.Now()
	m := stream.NewMembership("self", ttl)
	want := func(at time.Duration, want bool) {
		t.Helper()
		if at > 0 {
			m.Hear(wire.Heartbeat{Worker: "self"}, now.Add(at))
		}
		if got := m.MayClaim(0, now.Add(at)); got != want {
			t.Errorf("after %v MayClaim = %t, want %t", at, got, want)
		}
	}
	want(0, false) // It is no member.
	m.Hear(says("other", 5), now)
	want(time.Second, false)
	want(ttl, false)
	gone := says("other", 5)
	gone.Beat, gone.Partitions, gone.Claims = 1, nil, nil
	m.Hear(gone, now.Add(ttl))
	want(ttl+time.Millisecond, true)
	again := says("other", 9)
	again.Beat = 2
	m.Hear(again, now.Add(ttl))
	want(ttl+2*time.Millisecond, false)
	want(2*ttl+2*time.Millisecond, false)
	want(2*ttl+3*time.Millisecond, true) // It does not give it up in time.
}

// A partition may be another worker's once every unit of it is committed, and no sooner.
func TestDrainWaitsForEveryUnit(t *testing.T) {
	t.Parallel()
	for staged := range 3 {
		t.Run(fmt.Sprintf("%d staged", staged), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { drainWith(t, staged) })
		})
	}
}

func drainWith(t *testing.T, staged int) {
	t.Helper()
	d, err := stream.NewDraining(t.Context(), staged)
	if err != nil {
		t.Fatal(err)
	}
	var drained bool
	go func() {
		if err := d.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v, want nil", err)
		}
		drained = true
	}()
	for left := staged + 1; left > 0; left-- { // The last one says only that it is.
		synctest.Wait()
		if drained {
			t.Fatalf("drained with %d of %d units left", left, staged+1)
		}
		d.Commit()
	}
	synctest.Wait()
	if !drained {
		t.Error("not drained though every unit is committed")
	}
}

// Once a partition is lost, an ingester sends no unit that was staged before: one that
// was to be committed first may be missing.
func TestUnitsOfALostPartitionAreDropped(t *testing.T) {
	t.Parallel()
	d, err := stream.NewDraining(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if partitions, units := d.Lose(t.Context()); partitions != 0 || units != 0 {
		t.Errorf("%d partitions with %d units are to be committed, want none", partitions, units)
	}
}

// The position that is committed with a unit is not an older one that is renewed.
func TestRenewedPositionDoesNotGoBack(t *testing.T) {
	t.Parallel()
	if got := stream.Renew(2); got != 2 {
		t.Errorf("position %d is committed, want 2", got)
	}
}

// A reader hands nothing on once its session has ended: a message may be missing before
// the one that comes.
func TestReaderHandsNothingOnAfterTheEnd(t *testing.T) {
	t.Parallel()
	const updates = 50
	s := newSite(t)
	s.publishMany(t, 0, updates)
	messages := natstest.Stored(t, s.js, s.subjects.UpdatesStream(), s.subjects.StoredUpdates())
	ended, end := context.WithCancel(t.Context())
	end()
	for ctx, want := range map[context.Context]int{t.Context(): updates, ended: 0} {
		if got, err := stream.ReadOn(ctx, messages); err != nil || got != want {
			t.Errorf("the reader hands on %d updates, %v, want %d", got, err, want)
		}
	}
}

// An update that is half done may be of a batch with others: those that have it already
// still get the others.
func TestHalfDoneUpdateOfABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := readers(3)
	s.publishMany(t, 0, 3)
	messages := natstest.Stored(t, s.js, s.subjects.UpdatesStream(), s.subjects.StoredUpdates())
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, all...))})
	for epoch, want := range map[int64]map[string][]uint64{
		0: {all[0]: {2, 3}, all[1]: {2, 3}, all[2]: {1, 2, 3}},
		1: {all[0]: {1, 2, 3}, all[1]: {1, 2, 3}, all[2]: {1, 2, 3}}, // Another update has that sequence by now.
	} {
		found, err := w.CarryOn(t.Context(), messages, presence.MustUserID(all[1]), epoch)
		if err != nil {
			t.Fatal(err)
		}
		received := make(map[string][]uint64)
		for _, d := range found {
			received[d.Recipient.String()] = append(received[d.Recipient.String()], d.Sequences...)
		}
		if !reflect.DeepEqual(received, want) {
			t.Errorf("the rest of a batch is %v where the update was of epoch %d, want %v", received, epoch, want)
		}
	}
}

// What routers answer when a worker has to end does not count: it may be nothing.
func TestAnswerThatWasCutShortDoesNotCount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishMany(t, 0, 3)
	messages := natstest.Stored(t, s.js, s.subjects.UpdatesStream(), s.subjects.StoredUpdates())
	w := s.newWorker(t, []routing.Registration{registration(routerOf(t, func(ctx context.Context, _ states) (answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))})
	ended, end := context.WithCancel(t.Context())
	end()
	for range 20 { // A unit that is ready may be staged or not, as it happens.
		if found, err := w.CarryOn(ended, messages, presence.UserID{}, 0); !errors.Is(err, context.Canceled) {
			t.Fatalf("a worker that ends has %d deliveries ready, and %v, want no unit", len(found), err)
		}
	}
}

// A session ends when no update is handed on any more.
func TestSessionWaitsForTheUpdateInHand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishMany(t, 0, 1)
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	inHand, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- w.ReadSession(ctx, inHand, release) }()
	await(t, inHand, "update")
	end()
	select {
	case err := <-ended:
		t.Errorf("the session ends with an update in hand: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	if err := await(t, ended, "end of the session"); !errors.Is(err, context.Canceled) {
		t.Errorf("the session ends with %v, want that of its context", err)
	}
}

// Both halves of a batch together are what it was, and each state and each dead letter goes
// with its update.
func TestCutBatch(t *testing.T) {
	t.Parallel()
	const updates = 4
	var states []presence.UserState
	var sequences []uint64
	for i := range updates {
		body := update(bob, i)
		sequence := uint64(10 * (i + 1))
		s, err := wire.DecodeUpdate([]byte(body), sequence, len(body))
		if err != nil {
			t.Fatal(err)
		}
		states, sequences = append(states, s), append(sequences, sequence)
	}
	for n := 1; n < updates; n++ {
		parts := stream.Cut(states, []presence.UserID{presence.MustUserID(alice), presence.MustUserID(carol)}, n)
		for i, want := range [][]uint64{sequences[:n], sequences[n:]} {
			if !slices.Equal(parts[i].Updates, want) {
				t.Errorf("cut behind %d: part %d is of updates %v, want %v", n, i, parts[i].Updates, want)
			}
			if !slices.Equal(parts[i].Letters, want) {
				t.Errorf("cut behind %d: part %d has dead letters of updates %v, want %v", n, i, parts[i].Letters, want)
			}
			if each := map[string][]uint64{alice: want, carol: want}; !reflect.DeepEqual(parts[i].Recipients, each) {
				t.Errorf("cut behind %d: part %d has %v, want %v", n, i, parts[i].Recipients, each)
			}
		}
	}
}
