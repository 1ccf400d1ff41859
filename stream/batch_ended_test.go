package stream_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// A claim that cannot end the batch of the worker before, as without a leader, is made
// again: what that worker has on its way still would be stored.
func TestClaimEndsTheBatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(5)
	last := s.publishMany(t, 0, 3)
	first, b := s.holdBefore(t, 4, toEach(t, all...)) // begin, two deliveries | three, end
	failed := false
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if !failed && bytes.HasPrefix(frame, []byte("PUB presence.checkpoint.0 ")) && bytes.Contains(frame, []byte(".4.$FI ")) {
			failed = true
			frame = bytes.Replace(frame, []byte(".4.$FI "), []byte(".9.$FI "), 1) // The server answers with an error.
		}
		return frame, pass
	}})
	second := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	b.release()
	first.log.await(t, "partition is lost")
	first.stop(t)
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	if !failed {
		t.Error("no batch was ended")
	}
}

// The server has given a batch up that a worker is still sending: that it does not know it
// does not say that nothing of it is stored.
func TestServerGivesABatchUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := readers(5)
	seen := 0
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isBatchMessage(frame) {
			if seen++; seen == 4 { // begin, two deliveries | three, end
				eventually(t, "two deliveries", func() bool {
					return natstest.Count(t, s.js, s.subjects.DeliveriesStream(), s.subjects.Deliveries()) == 2
				})
				s.endBatch(t, frame)
			}
		}
		return frame, pass
	}})
	w := s.start(t, toEach(t, all...))
	last := uint64(0)
	for round := range 3 {
		last = s.publishMany(t, round, 1)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
}

// batchpublish.End ends the batch that frame is a message of, as one does who leaves a gap.
func (s *site) endBatch(t *testing.T, frame []byte) {
	t.Helper()
	reply, _, _ := strings.Cut(strings.Fields(string(frame))[2], ".1000.")
	batch := reply[strings.LastIndexByte(reply, '.')+1:]
	answers, err := s.nc.SubscribeSync("ended.>")
	if err != nil {
		t.Error(err)
		return
	}
	if err := s.nc.PublishRequest(s.subjects.Checkpoint(0), "ended."+batch+".1000.fail.1000000.4.$FI", nil); err != nil {
		t.Error(err)
		return
	}
	for {
		m, err := answers.NextMsg(eventTimeout)
		if err != nil {
			t.Errorf("end batch %s: %v", batch, err)
			return
		}
		if bytes.Contains(m.Data, []byte(`"count":`)) {
			return
		}
	}
}

// What is too large for two recipients is two dead letters, also where the worker stops
// between them.
func TestTwoLettersOfOneUpdateWithinABatch(t *testing.T) {
	t.Parallel()
	const dave = "@dave:example.com"
	huge := presence.UserState{UserID: presence.MustUserID(carol), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", 2<<20))}
	s := newTailSite(t)
	router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		both := append(slices.Clip(batch), huge)
		return answer{presence.MustUserID(alice): both, presence.MustUserID(dave): both}, nil
	})
	last := s.publish(t, bob, 1)
	w, b := s.holdBefore(t, 3, router) // begin, letter | letter, alice, dave, end
	s.finish(t, w, b, last, router)
	wantOnce(t, s.deliveries(t), 1, last, alice, dave)
	s.wantLetters(t, 2)
}

// The updates stream is made again when a worker has claimed a partition with a tail, and
// before it has read anything: the tail is of no use for the new stream, and for the next
// worker there is no second break.
func TestTailEndsWithItsEpoch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(3)
	before := s.start(t, toEach(t, all...))
	s.awaitPosition(t, s.publishMany(t, 0, 10))
	before.stop(t)
	s.config.Worker.StopTimeout = 100 * time.Millisecond
	s.publish(t, bob, 11)
	first, b := s.holdBefore(t, 4, toEach(t, all...)) // begin, two deliveries | one, end
	first.kill(t)
	s.config.Worker.StopTimeout = eventTimeout
	created := s.updatesStream(t).CachedInfo().Created
	direct, made := s.url, false
	s.url = startProxy(t, direct, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if !made && bytes.HasPrefix(frame, []byte("PUB $JS.API.CONSUMER.CREATE.PRESENCE_UPDATES.")) {
			made = true
			s.remakeUpdates(t)
			s.publishMany(t, 20, 3)
		}
		return frame, pass
	}})
	second := s.newWorker(t, []routing.Registration{registration(toEach(t, all...))})
	second.run(t)
	noticed := s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !c.Created.Equal(created) && c.Sequence == 3 })
	second.stop(t)
	s.url = direct
	third := s.start(t, toEach(t, all...))
	last := s.publishMany(t, 30, 1)
	c := s.awaitPosition(t, last)
	third.stop(t)
	b.release()
	if c.Epoch != noticed.Epoch || noticed.Tail != (wire.Tail{}) {
		t.Errorf("checkpoints are %+v and then %+v, want no tail, and the same epoch", noticed, c)
	}
	third.log.want(t, 0, brokenLine)
}
