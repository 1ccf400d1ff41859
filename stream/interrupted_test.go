package stream_test

import (
	"bytes"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// isLook reports whether a frame of a client asks for the newest checkpoint.
func isLook(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.MSG.GET.PRESENCE_DELIVERIES ")) &&
		bytes.Contains(frame, []byte(`"last_by_subj":"presence.checkpoint.`))
}

// A batch of which the server refused the last message, the checkpoint, has not landed.
func TestLastMessageIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	commits := 0
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isCommit(frame) {
			if commits++; commits == 2 {
				frame = bytes.Replace(frame, []byte("Nats-TTL: never"), []byte("Nats-TTL: nevex"), 1)
			}
		}
		return frame, pass
	}})
	all := readers(3)
	w := s.start(t, toEach(t, all...))
	last := uint64(0)
	for round := range 4 {
		last = s.publishMany(t, 10*round, 5)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	w.log.want(t, 0, "claiming the partition anew")
	w.log.want(t, 0, "partition is lost")
}

// The rest of a batch follows on the connection that the batch was sent on only: what
// was sent on another may still arrive.
func TestConnectionIsMadeAgainBeforeTheRest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	gap := onNth(6, isBatchMessage, swallow)
	looks := 0
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isLook(frame) && strings.Contains(string(frame), "checkpoint.0") {
			if looks++; looks == 2 { // The first one is the claim's.
				return frame, sever
			}
		}
		return gap(frame)
	}})
	watch := s.watchCheckpoints(t)
	all := readers(3)
	w := s.start(t, toEach(t, all...))
	var last uint64
	for round := range 3 {
		last = s.publishMany(t, 10*round, 1)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	claims := 0
	for reached := uint64(0); reached < last; {
		m := await(t, watch, "checkpoint")
		if len(m.Data) == 0 { // It ends a batch.
			continue
		}
		c, err := wire.DecodeCheckpoint(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		reached = c.Sequence
		if strings.Contains(c.Commit, "-claim-") {
			claims++
		}
	}
	if claims != 2 {
		t.Errorf("the partition was claimed %d times, want 2: once more where the connection was made again", claims)
	}
}

// The checkpoints are purged while a batch is stored: what is stored of it is known all
// the same.
func TestCheckpointIsPurgedWithinABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	seen := 0
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if isBatchMessage(frame) {
			if seen++; seen == 9 { // begin, 4 deliveries, begin, 2 deliveries | 2 deliveries
				err := s.deliveriesStream(t).Purge(t.Context(), jetstream.WithPurgeSubject(s.subjects.Checkpoints()))
				if err != nil {
					t.Errorf("purge the checkpoints: %v", err)
				}
				return frame, swallow
			}
		}
		return frame, pass
	}})
	all := readers(4)
	w := s.start(t, toEach(t, all...))
	last := uint64(0)
	for round := range 3 {
		last = s.publishMany(t, round, 1)
		s.awaitPosition(t, last)
	}
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
	w.log.want(t, 1, purgedLine)
}

// The updates stream loses its newest updates, of which deliveries are stored. The worker
// that notices stops as soon as it has claimed the partition: for the next one there is
// no second break.
func TestBreakWithinABatchIsOneBreak(t *testing.T) {
	t.Parallel()
	s := newTailSite(t, onFile, func(c *stream.Config) { c.Worker.StopTimeout = 100 * time.Millisecond })
	before := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 4))
	before.stop(t)
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.publish(t, bob, 105)
	first, b := s.holdBefore(t, 3, toEach(t, alice)) // begin, delivery | end
	first.kill(t)
	s.whileDown(t, func() {
		b.release()
		s.putBack(t, s.subjects.UpdatesStream(), copied)
	})
	last := s.publishMany(t, 200, 3)
	second, b := s.holdBefore(t, 1, toEach(t, alice))
	noticed, _ := s.checkpoint(t, 0)
	second.kill(t)
	s.config.Worker.StopTimeout = eventTimeout
	third := s.start(t, toEach(t, alice))
	if c := s.awaitPosition(t, last); c.Epoch != noticed.Epoch {
		t.Errorf("epoch is %d after the third worker, want %d as after the second", c.Epoch, noticed.Epoch)
	}
	b.release()
	third.stop(t)
	second.log.want(t, 1, "updates stream is not the one known")
	third.log.want(t, 0, "updates stream is not the one known")
}

// kill ends a worker in the middle of what it does: it stops within its StopTimeout, and
// tells the server nothing.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	w.nc.Close()
	w.quit()
	_ = w.wait(t) // Without a connection it cannot end well.
}

// How much a consumer has left, as the server says it with each message, may be too
// little: a tail is read to the end that the stream's leader tells.
func TestTailIsReadToTheEndTheLeaderTells(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(6)
	last := s.publishMany(t, 0, 3)
	first, b := s.holdBefore(t, 6, toEach(t, all...)) // begin, 4 deliveries | 2 deliveries, end
	pending := regexp.MustCompile(`^(H?MSG \S+ \S+ \$JS\.ACK\.PRESENCE_DELIVERIES\.\S+)\.\d( [\d ]+\r\n)`)
	s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		return pending.ReplaceAll(frame, []byte("$1.0$2")), pass
	}})
	second := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	b.release()
	first.log.await(t, "partition is lost")
	first.stop(t)
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, all...)
}

// Somebody gives the deliveries stream replicas by hand, which may forget that a batch
// was ended: a claim waits until they have forgotten the batch itself, and no batch is
// begun that they could forget.
func TestReplicasAddedByHand(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(3)
	last := s.publishMany(t, 0, 3)
	first, b := s.holdBefore(t, 3, toEach(t, all...))
	var replicas atomic.Bool
	s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		if replicas.Load() && bytes.Contains(frame, []byte(`"name":"PRESENCE_DELIVERIES"`)) {
			frame = bytes.Replace(frame, []byte(`"num_replicas":1`), []byte(`"num_replicas":3`), 1)
		}
		return frame, pass
	}})
	second := s.newWorker(t, []routing.Registration{registration(toEach(t, all...))})
	paused := make(chan time.Duration, 10)
	second.OnPause(func(d time.Duration) { paused <- d })
	second.run(t)
	eventually(t, "member", func() bool { return s.heartbeat(t, second.ID()) != nil }) // It is through with the topology.
	replicas.Store(true)
	s.awaitPosition(t, last)
	close(paused)
	if got, least := <-paused, 10*time.Second; got <= least {
		t.Errorf("the claim waits %v, want more than the %v for which the server remembers a batch", got, least)
	}
	b.release()
	first.log.await(t, "partition is lost")
	first.stop(t)
	second.stop(t)
	deliveries := s.deliveries(t)
	wantOnce(t, deliveries, 1, last, all...)
	for _, d := range deliveries[1:] {
		if d.header.Get("Nats-Batch-Id") == "" {
			t.Errorf("delivery to %s was committed by fast ingest, want atomic batches where replicas are", d.Recipient)
		}
	}
}
