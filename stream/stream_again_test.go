package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/wire"
)

// writeCheckpoint has partition 0 stand at c.
func (s *site) writeCheckpoint(t *testing.T, c wire.Checkpoint) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, &nats.Msg{
		Subject: s.subjects.Checkpoint(0), Data: wire.AppendCheckpoint(nil, c), Header: nats.Header{"Nats-Rollup": {"sub"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The stream is made again from a copy of its messages, which may say of it that it was
// created earlier: none of them is routed again, and the epoch that begins is a later one.
func TestUpdatesStreamIsMadeAgainWithItsUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	w.stop(t)
	before, _ := s.checkpoint(t, 0)
	before.Created = before.Created.Add(time.Hour) // of the stream that was
	before.Epoch = before.Created.UnixMilli()
	s.writeCheckpoint(t, before)
	w = s.start(t, toEach(t, alice))
	last := s.publishMany(t, 5, 2)
	after := s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	if after.Epoch <= before.Epoch {
		t.Errorf("epoch is %d, want a later one than %d", after.Epoch, before.Epoch)
	}
	w.log.want(t, 1, brokenLine, "the stream was made again")
}

// The updates stream went back and has grown past the position. That it cannot be read just
// when a worker claims the partition does not make it the same.
func TestClaimWaitsForTheComparison(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	w.stop(t)
	s.restore(t, s.subjects.UpdatesStream(), copied)
	last := s.publishMany(t, 20, 8)
	failed := false
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		get := bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.MSG.GET.PRESENCE_UPDATES "))
		if get && !failed && bytes.Contains(frame, []byte(`{"seq":10}`)) {
			failed = true
			frame = bytes.Replace(frame, []byte("$JS"), []byte("$SJ"), 1) // Nobody is there.
		}
		return frame, pass
	}})
	w = s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	w.stop(t)
	found := s.deliveries(t)
	if got := fmt.Sprint(sequences(found)[alice]); got != "[1 2 3 4 5 6 7 8 9 10 6 7 8 9 10 11 12 13]" || !failed {
		t.Errorf("%s received %s, want 1 to 10 and then 6 to 13", alice, got)
	}
	wantEpochs(t, found, 10)
}

// The checkpoint that named an epoch is lost with the end of the deliveries stream. The next
// epoch that begins is another one: readers have seen the first.
func TestEpochIsNotUsedTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, onFile)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	updates := s.backUp(t, s.subjects.UpdatesStream())
	s.awaitPosition(t, s.publishMany(t, 5, 5))
	w.stop(t)
	deliveries := s.backUp(t, s.subjects.DeliveriesStream())
	var epochs []int64
	for round := range 2 {
		s.whileDown(t, func() {
			s.putBack(t, s.subjects.UpdatesStream(), updates)
			s.putBack(t, s.subjects.DeliveriesStream(), deliveries)
		})
		last := s.publishMany(t, 10*(round+2), 2)
		w = s.start(t, toEach(t, alice))
		c := s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence == last })
		w.stop(t)
		epochs = append(epochs, c.Epoch)
	}
	if epochs[1] <= epochs[0] {
		t.Errorf("epochs are %v, want each break to begin a later one", epochs)
	}
}
