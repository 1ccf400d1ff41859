package stream_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const brokenLine = "updates stream is not the one known"

// remakeUpdates deletes the updates stream and makes it again.
func (s *site) remakeUpdates(t *testing.T) {
	t.Helper()
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
}

// epochs returns the epoch of each delivery's states, a state each.
func epochs(deliveries []delivery) []int64 {
	var found []int64
	for _, d := range deliveries {
		for range d.States {
			found = append(found, d.Epoch)
		}
	}
	return found
}

// wantEpochs checks that the first n states are of one epoch, and the others of a
// later one.
func wantEpochs(t *testing.T, deliveries []delivery, n int) {
	t.Helper()
	found := epochs(deliveries)
	for i, epoch := range found {
		switch {
		case i == 0 || i == n:
		case epoch != found[i-1]:
			t.Errorf("epochs are %v, want %d states in the first", found, n)
		}
	}
	if len(found) <= n || found[n] <= found[0] {
		t.Errorf("epochs are %v, want a later one from state %d on", found, n)
	}
}

func TestUpdatesStreamIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("worker runs %t", running), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			created := s.updatesStream(t).CachedInfo().Created
			if !running {
				w.stop(t)
			}
			s.remakeUpdates(t)
			last := s.publishMany(t, 5, 3)
			if !running {
				w = s.start(t, toEach(t, alice))
			}
			c := s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !c.Created.Equal(created) && c.Sequence == last })
			w.stop(t)
			deliveries := s.deliveries(t)
			if got := fmt.Sprint(sequences(deliveries)[alice]); got != "[1 2 3 4 5 1 2 3]" {
				t.Errorf("%s received %s, want [1 2 3 4 5 1 2 3]", alice, got)
			}
			wantEpochs(t, deliveries, 5)
			if again := s.updatesStream(t).CachedInfo().Created; !c.Created.Equal(again) || c.Epoch != again.UnixMilli() {
				t.Errorf("checkpoint is %+v, want the creation time %v", c, again)
			}
			w.log.want(t, 1, brokenLine, "the stream was made again", "position=5")
		})
	}
}

// Every partition notices; they share one epoch and one line of log.
func TestPartitionsNoticeABreakTogether(t *testing.T) {
	t.Parallel()
	const partitions = 8
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = partitions })
	first := s.start(t, toEach(t, alice))
	s.awaitCheckpoint(t, wire.Partition(presence.MustUserID(bob), partitions), func(wire.Checkpoint) bool { return true })
	first.stop(t)
	s.remakeUpdates(t)
	w := s.start(t, toEach(t, alice))
	w.stop(t)
	w.log.want(t, 1, brokenLine)
	want, _ := s.checkpoint(t, 0)
	for p := range partitions {
		if c, _ := s.checkpoint(t, p); c.Epoch != want.Epoch {
			t.Errorf("epoch of partition %d is %d, of partition 0 %d", p, c.Epoch, want.Epoch)
		}
	}
}

// The worker has not routed everything when the stream is made again: what was left
// in the old one is gone, what the new one holds is routed.
func TestUpdatesStreamIsMadeAgainWhileOneIsRouted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 2))
	for round := range 3 {
		s.remakeUpdates(t)
		created := s.updatesStream(t).CachedInfo().Created
		last := s.publishMany(t, 10*(round+1), 4)
		s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Created.Equal(created) && c.Sequence == last })
	}
	w.stop(t)
	if got := fmt.Sprint(sequences(s.deliveries(t))[alice]); got != "[1 2 1 2 3 4 1 2 3 4 1 2 3 4]" {
		t.Errorf("%s received %s, want every round once", alice, got)
	}
	w.log.want(t, 3, brokenLine)
}

// Updates of the old stream wait for the router when those of the new one arrive:
// they are not routed together.
func TestUpdatesOfTwoEpochsAreNotOfOneBatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	h := newHeld()
	w := s.start(t, h.router(t))
	s.publish(t, bob, 1)
	await(t, h.asked, "call of the router")
	s.awaitHandedOut(t, s.publishMany(t, 1, 2))
	created := s.updatesStream(t).CachedInfo().Created
	s.remakeUpdates(t)
	last := s.publishMany(t, 10, 2)
	w.log.await(t, brokenLine)
	s.awaitHandedOut(t, last)
	if err := w.nc.FlushTimeout(eventTimeout); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !c.Created.Equal(created) && c.Sequence == last })
	w.stop(t)
	deliveries := s.deliveries(t)
	if got := fmt.Sprint(sequences(deliveries)[alice]); got != "[1 2 3 1 2]" {
		t.Errorf("%s received %s, want [1 2 3 1 2]", alice, got)
	}
	wantEpochs(t, deliveries, 3)
}

// awaitHandedOut waits until the server has sent a reader the updates up to sequence.
func (s *site) awaitHandedOut(t *testing.T, sequence uint64) {
	t.Helper()
	eventually(t, "consumer that is done", func() bool {
		for info := range s.updatesStream(t).ListConsumers(t.Context()).Info() {
			if info.Delivered.Stream >= sequence {
				return true
			}
		}
		return false
	})
}

// The updates stream goes back to 5 updates of 10, and more are published then.
func TestUpdatesStreamIsRolledBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		running bool
		more    int // updates published after that
	}{
		{"behind the position, worker runs", true, 3},
		{"behind the position, worker is down", false, 3},
		{"beyond the position, worker is down", false, 8},
		{"to the position, worker is down", false, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, onFile)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			copied := s.backUp(t, s.subjects.UpdatesStream())
			s.awaitPosition(t, s.publishMany(t, 5, 5))
			if !tt.running {
				w.stop(t)
			}
			s.restore(t, s.subjects.UpdatesStream(), copied)
			last := s.publishMany(t, 20, tt.more)
			if !tt.running {
				w = s.start(t, toEach(t, alice))
			}
			s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence == last })
			eventually(t, "new epoch", func() bool { return len(w.log.with(brokenLine)) == 1 })
			w.stop(t)
			deliveries := s.deliveries(t)
			want := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
			for i := range tt.more {
				want = append(want, uint64(6+i))
			}
			if got := sequences(deliveries)[alice]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s received %v, want %v", alice, got, want)
			}
			wantEpochs(t, deliveries, 10)
		})
	}
}

// Each time that the stream goes back an epoch begins, though it stays the one that was
// created once.
func TestUpdatesStreamIsRolledBackTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	for _, more := range []int{3, 2} {
		s.restore(t, s.subjects.UpdatesStream(), copied)
		last := s.publishMany(t, 20, more)
		s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence == last })
	}
	w.stop(t)
	found := s.deliveries(t)
	if got := fmt.Sprint(sequences(found)[alice]); got != "[1 2 3 4 5 6 7 8 9 10 6 7 8 6 7]" {
		t.Errorf("%s received %s, want [1 2 3 4 5 6 7 8 9 10 6 7 8 6 7]", alice, got)
	}
	if e := epochs(found); len(e) != 15 || e[0] >= e[10] || e[10] >= e[13] {
		t.Errorf("epochs are %v, want a later one from states 10 and 13 on", e)
	}
}

// Nothing has been published since the stream went back when the worker notices.
func TestUpdatesStreamIsRolledBackAndQuiet(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	w.stop(t)
	s.restore(t, s.subjects.UpdatesStream(), copied)
	for range 2 { // the second finds no break any more
		w = s.start(t, toEach(t, alice))
		w.stop(t)
	}
	w.log.want(t, 0, brokenLine)
	w = s.start(t, toEach(t, alice))
	last := s.publishMany(t, 20, 2)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence == last })
	w.stop(t)
	deliveries := s.deliveries(t)
	if got := fmt.Sprint(sequences(deliveries)[alice]); got != "[1 2 3 4 5 6 7 8 9 10 6 7]" {
		t.Errorf("%s received %s, want [1 2 3 4 5 6 7 8 9 10 6 7]", alice, got)
	}
	wantEpochs(t, deliveries, 10)
}

// Updates that expire or are purged behind or before the position are no break.
func TestPurgedUpdatesAreNoBreak(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		purge func(t *testing.T, s *site)
	}{
		{"all", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.updatesStream(t).Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"the last", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.updatesStream(t).DeleteMsg(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			w.stop(t)
			tt.purge(t, s)
			w = s.start(t, toEach(t, alice))
			last := s.publishMany(t, 5, 2)
			s.awaitPosition(t, last)
			w.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, alice)
			w.log.want(t, 0, brokenLine)
		})
	}
}

// The stream is made again after the position was compared with it, and before there is
// a consumer: the new one is read from its beginning.
func TestUpdatesStreamIsMadeAgainBeforeItIsRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 3))
	w.stop(t)
	var last uint64
	made := false
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if !made && bytes.HasPrefix(frame, []byte("PUB $JS.API.CONSUMER.CREATE.PRESENCE_UPDATES.")) {
			made = true
			s.remakeUpdates(t)
			last = s.publishMany(t, 10, 5)
		}
		return frame, pass
	}})
	created := s.updatesStream(t).CachedInfo().Created
	w = s.start(t, toEach(t, alice))
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !c.Created.Equal(created) && c.Sequence == 5 })
	w.stop(t)
	deliveries := s.deliveries(t)
	if got := fmt.Sprint(sequences(deliveries)[alice]); got != "[1 2 3 1 2 3 4 5]" {
		t.Errorf("%s received %s, want [1 2 3 1 2 3 4 5]", alice, got)
	}
	wantEpochs(t, deliveries, 3)
	if last != 5 {
		t.Errorf("the last update of the new stream is %d, want 5", last)
	}
}
