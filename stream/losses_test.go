package stream_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

const lostTotal = "presence_router_lost_updates{partition=0}"

// sent returns up to which update the consumer of the only partition was served.
func (s *site) sent(t *testing.T) uint64 {
	t.Helper()
	var found []*jetstream.ConsumerInfo
	eventually(t, "consumer of the updates stream", func() bool {
		found = nil
		for info := range s.updatesStream(t).ListConsumers(t.Context()).Info() {
			found = append(found, info)
		}
		if len(found) > 1 {
			t.Fatalf("the updates stream has %d consumers, want 1", len(found))
		}
		return len(found) == 1
	})
	return found[0].Delivered.Stream
}

// publishSized stores n updates of 500 bytes and returns the sequence of the last.
func (s *site) publishSized(t *testing.T, n int) (last uint64) {
	t.Helper()
	for i := range n {
		last = s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), sized(i, 500), nil)
	}
	return last
}

// Updates that the stream drops before they are read are counted, logged and shown.
// Those that the worker has are not lost, though the stream drops them.
func TestLostUpdatesAreTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Updates.MaxBytes = 1 << 20 })
	release := make(chan struct{})
	router := routerOf(t, func(ctx context.Context, batch states) (answer, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	})
	reader, metered := newMeter()
	w := s.start(t, router, metered)
	if got, found := collect(t, reader).values[lostTotal]; !found || got != 0 {
		t.Errorf("%s is %d (there: %t), want 0", lostTotal, got, found)
	}
	const before = 1500 // of some 1800 that the stream holds; the worker is sent 512 to 1040 of them
	s.publishSized(t, before)
	awaitPending(t, reader, before)
	state := s.updatesStream(t).CachedInfo().State
	if state.FirstSeq != 1 {
		t.Fatalf("the updates stream begins at %d, want that it dropped nothing yet", state.FirstSeq)
	}
	last := s.publishSized(t, 2*before)
	sent := s.sent(t)
	state = s.updatesStream(t).CachedInfo().State
	w.log.await(t, "updates are lost: the updates stream dropped them before they were routed", "partitions=[0]")
	least, most := before-sent, state.FirstSeq-1-sent
	lost := func() uint64 { return uint64(collect(t, reader).values[lostTotal]) }                                 //nolint:gosec // It is a count.
	eventually(t, fmt.Sprintf("count of %d lost updates or more", least), func() bool { return lost() >= least }) // The worker may have looked amid the flood.
	if got := lost(); got > most {
		t.Errorf("%d updates are counted as lost, want %d to %d: the first %d were sent, and %d is the first that is stored", got, least, most, sent, state.FirstSeq)
	}
	s.awaitWarning(t, " not routed yet, the last ")
	close(release)
	s.awaitPosition(t, last)
	w.stop(t)
	w.log.want(t, 1, "updates are lost")
	received := sequences(s.deliveries(t))[alice]
	if want := uint64(len(received)); want != sent+last-state.FirstSeq+1 || !slices.IsSorted(received) {
		t.Errorf("%s received %d updates, want the %d that were sent and those from %d to %d, in order", alice, want, sent, state.FirstSeq, last)
	}
}

// A stream that drops what is routed loses nothing, with a backlog or without.
func TestRoutedUpdatesAreNotLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Updates.MaxBytes = 1 << 20 })
	reader, metered := newMeter()
	w := s.start(t, toEach(t, alice), metered)
	due := time.NewTicker(time.Second)
	defer due.Stop()
	for range 11 { // for longer than two looks
		s.awaitPosition(t, s.publishSized(t, 1000))
		await(t, due.C, "second")
	}
	if state := s.updatesStream(t).CachedInfo().State; state.FirstSeq == 1 {
		t.Errorf("the updates stream dropped nothing")
	}
	if got := collect(t, reader).values[lostTotal]; got != 0 {
		t.Errorf("%d updates are counted as lost, want none", got)
	}
	w.stop(t)
	w.log.want(t, 0, "updates are lost")
}
