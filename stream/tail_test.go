package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// The updates stream is made again once a worker has finished a tail, which says nothing
// about the updates that get its sequences.
func TestTailIsOfOneEpoch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t, func(c *stream.Config) { c.Worker.StopTimeout = 100 * time.Millisecond })
	all := readers(3)
	last := s.publishMany(t, 0, 3)
	first, b := s.holdBefore(t, 4, toEach(t, all...)) // begin, two deliveries | one, end
	s.config.Worker.StopTimeout = eventTimeout
	second := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	first.kill(t)
	s.remakeUpdates(t)
	created := s.updatesStream(t).CachedInfo().Created
	last = s.publishMany(t, 10, 3)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Created.Equal(created) && c.Sequence == last })
	b.release()
	second.stop(t)
	received := sequences(s.deliveries(t))
	for _, r := range all {
		if got := fmt.Sprint(received[r]); got != "[1 2 3 1 2 3]" {
			t.Errorf("%s received %s, want [1 2 3 1 2 3]", r, got)
		}
	}
}

// Deliveries of another partition stand between those of a tail. That they are about
// later updates says nothing about those of the tail.
func TestTailIsOfOnePartition(t *testing.T) {
	t.Parallel()
	const later = 1000
	s := newTailSite(t)
	all := readers(5)
	last := s.publishMany(t, 0, 10)
	first, b1 := s.holdBefore(t, 3, toEach(t, all...))
	for _, r := range all {
		s.storeDelivery(t, wire.Source{Partition: 1, First: later, Last: later}, r)
	}
	second, b2 := s.holdBefore(t, 3, toEach(t, all...))
	third := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	b1.release()
	b2.release()
	for _, w := range []*worker{first, second} {
		w.log.await(t, "partition is lost")
		w.stop(t)
	}
	third.stop(t)
	found := slices.DeleteFunc(s.deliveries(t), func(d delivery) bool { return d.Sequences[0] == later })
	wantOnce(t, found, 1, last, all...)
}

// storeDelivery stores the last update of source for a recipient as a worker does.
func (s *site) storeDelivery(t *testing.T, source wire.Source, recipient string) {
	t.Helper()
	body := update(bob, 0)
	state, err := wire.DecodeUpdate([]byte(body), source.Last, len(body))
	if err != nil {
		t.Fatal(err)
	}
	to := presence.MustUserID(recipient)
	d := wire.Delivery{Recipient: to, Epoch: s.updatesStream(t).CachedInfo().Created.UnixMilli(), States: states{state}}
	s.publishRaw(t, s.subjects.Delivery(wire.Local, 0, to), string(wire.AppendDelivery(nil, d)),
		nats.Header{wire.SourceHeader: {source.String()}})
}

// A unit that was interrupted begins before the position, up to which another worker has
// finished it since: what is stored of the rest counts.
func TestTailBeginsBeforeThePosition(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 9))
	w.stop(t)
	last := s.publish(t, bob, 10)
	stored, err := s.updatesStream(t).GetMsg(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	c, from := s.checkpoint(t, 0)
	s.storeDelivery(t, wire.Source{First: 1, Last: last}, alice)
	c.Tail = wire.Tail{From: from, Sequence: last, Time: stored.Time}
	s.writeCheckpoint(t, c)
	w = s.start(t, toEach(t, alice))
	last = s.publishMany(t, 10, 2)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// A second worker begins to finish a batch in shorter ones; then the updates stream loses
// updates that the first of those does not reach, but the tail does.
func TestBreakBehindAShorterBatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t, onFile, func(c *stream.Config) { c.Worker.StopTimeout = 100 * time.Millisecond })
	all := readers(2)
	before := s.start(t, toEach(t, all...))
	s.awaitPosition(t, s.publishMany(t, 0, 4))
	before.stop(t)
	s.publishMany(t, 4, 1)
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.publishMany(t, 5, 3)
	first, b1 := s.holdBefore(t, 3, toEach(t, all...)) // begin, four updates for one | for the other, end
	first.kill(t)
	s.config.Worker.Batch = 1
	second, b2 := s.holdBefore(t, 3, toEach(t, all...)) // begin, one update for the other | end
	second.kill(t)
	s.whileDown(t, func() {
		b1.release()
		b2.release()
		s.putBack(t, s.subjects.UpdatesStream(), copied)
	})
	last := s.publishMany(t, 200, 3)
	s.config.Worker.StopTimeout = eventTimeout
	third := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	third.stop(t)
	for _, r := range all {
		var received []int64
		for _, d := range s.deliveries(t) {
			if d.Recipient.String() == r {
				received = append(received, marks(d.States)...)
			}
		}
		if len(received) < 3 || !slices.Equal(received[len(received)-3:], []int64{201, 202, 203}) {
			t.Errorf("%s received %v, want 201, 202 and 203 at the end", r, received)
		}
	}
}

// The tail reaches beyond the unit that the third worker finishes first: what it says of
// the updates behind that is known to the fourth.
func TestTailOutlastsItsFirstUnit(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(3)
	s.publish(t, bob, 1)
	more := sync.OnceValue(func() uint64 {
		last := s.publishMany(t, 1, 9)
		s.awaitHandedOut(t, last)
		return last
	})
	first, b1 := s.holdBefore(t, 5+3, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		more() // They are one unit, as they arrive while the first update is routed.
		return everybody(userIDs(all...), batch), nil
	})) // begin, three deliveries and end of update 1; begin, one delivery of 2 to 10 | two, end
	s.config.Worker.Batch = 1
	second, b2 := s.holdBefore(t, 3, toEach(t, all...)) // begin, one delivery of update 2 | one, end
	s.config.Worker.Batch = 256
	third, b3 := s.holdBefore(t, 3+3, toEach(t, all...)) // begin, one delivery of update 2, end; begin, one delivery | one, end
	fourth := s.start(t, toEach(t, all...))
	last := more()
	s.awaitPosition(t, last)
	for _, b := range []*barrier{b1, b2, b3} {
		b.release()
	}
	for _, w := range []*worker{first, second, third} {
		w.log.await(t, "partition is lost")
		w.stop(t)
	}
	fourth.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
}

// What is made up for a recipient takes two deliveries, and the worker stops between them.
func TestTailEndsBetweenMadeUpStates(t *testing.T) {
	t.Parallel()
	const large = 600 // bytes: one of them fits a delivery beside the update, and two do not
	s := newTailSite(t, func(c *stream.Config) { c.Streams.Deliveries.MaxDeliveryBytes = 1 << 10 })
	router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		to := slices.Clip(batch)
		for _, user := range []string{carol, "@dave:example.com"} {
			to = append(to, presence.UserState{
				UserID: presence.MustUserID(user), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", large)),
			})
		}
		return answer{presence.MustUserID(alice): to}, nil
	})
	last := s.publish(t, bob, 1)
	w, b := s.holdBefore(t, 3, router) // begin, the update and carol | dave, end
	s.finish(t, w, b, last, router)
	var received []string
	for _, d := range s.deliveries(t) {
		for _, state := range d.States {
			received = append(received, state.UserID.String())
		}
	}
	if want := []string{bob, carol, "@dave:example.com"}; !slices.Equal(received, want) {
		t.Errorf("%s received states of %v, want %v", alice, received, want)
	}
}

// Twice in a row the server does not get all of what is left of a unit.
func TestUnitIsStoredInThreeParts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	seen := 0
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isBatchMessage(frame) {
			if seen++; seen == 4 || seen == 10 { // begin, 2 deliveries | 4; begin, 1 delivery | 3
				return frame, swallow
			}
		}
		return frame, pass
	}})
	all := readers(6)
	w := s.start(t, toEach(t, all...))
	last := uint64(0)
	for round := range 2 {
		last = s.publishMany(t, round, 1)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	if first := 7 + 5 + 4; seen != first+7 {
		t.Errorf("%d messages were sent of batches, want %d of the first unit and 7 of the second", seen, first)
	}
	w.log.want(t, 0, "claiming the partition anew")
}
