package stream_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
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
