package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// barrier lets frames of batches through up to the nth, then holds the connection until
// it is opened, as if the worker had been stopped between two of them.
type barrier struct {
	nth  int
	seen int
	held chan struct{} // closed when a frame is held
	open chan struct{}
	once sync.Once
}

func newBarrier(t *testing.T, nth int) *barrier {
	t.Helper()
	return &barrier{nth: nth, held: make(chan struct{}), open: make(chan struct{})}
}

// holdBefore runs a worker that is held before the nth message of its first batch.
func (s *site) holdBefore(t *testing.T, nth int, router routing.Router) (*worker, *barrier) {
	t.Helper()
	direct, b := s.url, newBarrier(t, nth)
	s.url = startProxy(t, direct, &proxy{fromClient: b.look})
	t.Cleanup(b.release) // before the proxy waits for what is held
	w := s.newWorker(t, []routing.Registration{registration(router)})
	w.run(t)
	await(t, b.held, "batch")
	s.url = direct
	return w, b
}

func (g *barrier) release() { g.once.Do(func() { close(g.open) }) }

func (g *barrier) look(frame []byte) ([]byte, verdict) {
	if isBatchMessage(frame) || isCommit(frame) && g.seen > 0 {
		if g.seen++; g.seen == g.nth {
			close(g.held)
			<-g.open
		}
	}
	return frame, pass
}

// finish has a second worker finish what the first one, which is held, began, up to
// the update last. Then the first goes on and finds that it is replaced.
func (s *site) finish(t *testing.T, first *worker, b *barrier, last uint64, router routing.Router) {
	t.Helper()
	second := s.start(t, router)
	s.awaitPosition(t, last)
	b.release()
	first.log.await(t, "partition is lost")
	first.stop(t)
	second.stop(t)
}

// makingUp is a router that gives every update to all, and makes up a state for each
// of them.
func makingUp(t *testing.T, all ...string) routing.Router {
	t.Helper()
	return routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, r := range all {
			id := presence.MustUserID(r)
			a[id] = append(slices.Clip(batch), presence.UserState{UserID: id, State: presence.Online})
		}
		return a, nil
	})
}

// wantEverythingOnce checks that each of recipients received the updates first to
// last once and in order, and a made up state for each of them, once for the same
// updates.
func (s *site) wantEverythingOnce(t *testing.T, first, last uint64, recipients ...string) {
	t.Helper()
	type made struct {
		recipient string
		update    uint64
	}
	deliveries := s.deliveries(t)
	times := make(map[made]int)
	for i, d := range deliveries {
		at := slices.Index(d.Sequences, 0)
		if at < 0 {
			continue
		}
		source, err := wire.ParseSource(d.header.Get(wire.SourceHeader))
		if err != nil {
			t.Fatal(err)
		}
		for sequence := source.First; sequence <= source.Last; sequence++ {
			times[made{d.Recipient.String(), sequence}]++
		}
		deliveries[i].Sequences = d.Sequences[:at] // They come last.
	}
	for _, r := range recipients {
		for sequence := first; sequence <= last; sequence++ {
			if n := times[made{r, sequence}]; n != 1 {
				t.Errorf("%d states were made up for %s and update %d, want 1", n, r, sequence)
			}
		}
	}
	wantOnce(t, deliveries, first, last, recipients...)
}

// wantLetters checks how many dead letters are committed.
func (s *site) wantLetters(t *testing.T, want int) {
	t.Helper()
	if got := natstest.Count(t, s.js, s.subjects.DeliveriesStream(), s.subjects.DeadAll()); got != want {
		t.Errorf("%d dead letters, want %d", got, want)
	}
}

// A worker that stops anywhere within a batch, is taken over from and goes on,
// repeats nothing and adds nothing.
func TestWorkerStopsWithinABatch(t *testing.T) {
	t.Parallel()
	const recipients, letters = 5, 2
	for nth := 1; nth <= recipients+letters+2; nth++ {
		t.Run(fmt.Sprintf("before message %d", nth), func(t *testing.T) {
			t.Parallel()
			s := newTailSite(t)
			all := readers(recipients)
			for i := range letters {
				s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), fmt.Sprintf("no update %d", i), nil)
			}
			s.publishMany(t, 0, 10)
			first, b := s.holdBefore(t, nth, makingUp(t, all...))
			last := s.publishMany(t, 10, 10)
			s.finish(t, first, b, last, makingUp(t, all...))
			s.wantEverythingOnce(t, letters+1, last, all...)
			s.wantLetters(t, letters)
		})
	}
}

// What an earlier worker has stored is known to the next but one, too, where the
// one between them committed nothing or a part.
func TestBatchIsFinishedByTheThirdWorker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		nth   int // before which the second worker stops
		batch int // of the second worker
	}{
		{"nothing", 1, 256},
		{"a part", 3, 256},
		{"a part of the updates", 3, 1},
		{"all but the last update", 9*6 + 1, 1}, // begin, 4 deliveries and end of each
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTailSite(t)
			all := readers(5)
			last := s.publishMany(t, 0, 10)
			first, b1 := s.holdBefore(t, 3, makingUp(t, all...))
			s.config.Worker.Batch = tt.batch
			second, b2 := s.holdBefore(t, tt.nth, makingUp(t, all...))
			s.config.Worker.Batch = 256
			third := s.start(t, makingUp(t, all...))
			s.awaitPosition(t, last)
			b1.release()
			b2.release()
			for _, w := range []*worker{first, second} {
				w.log.await(t, "partition is lost")
				w.stop(t)
			}
			third.stop(t)
			s.wantEverythingOnce(t, 1, last, all...)
			if c, _ := s.checkpoint(t, 0); c.Batch != "" || c.Tail != (wire.Tail{}) {
				t.Errorf("checkpoint at the end is %+v, want that no batch is open and no tail is left", c)
			}
		})
	}
}

// Where the stream stops to allow fast ingest, a worker goes on with atomic batches.
func TestFastIngestIsTurnedOff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publish(t, bob, 1))
	config := s.deliveriesStream(t).CachedInfo().Config
	config.AllowBatchPublish = false
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	last := s.publishMany(t, 1, 5)
	s.awaitPosition(t, last)
	w.stop(t)
	all := s.deliveries(t)
	wantOnce(t, all, 1, last, alice)
	for i, d := range all {
		const atomic = "Nats-Batch-Id"
		if got := d.header.Get(atomic) != ""; got != (i > 0) {
			t.Errorf("delivery %d has header %s: %v, want %v", i, atomic, got, i > 0)
		}
	}
}

// A state that coalescing left out does not follow the newer one after a takeover.
func TestCoalescedStateStaysOut(t *testing.T) {
	t.Parallel()
	s := newTailSite(t, func(c *stream.Config) { c.Worker.Coalesce = true })
	router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		gone := presence.UserState{UserID: presence.MustUserID(bob), State: presence.Offline}
		return answer{presence.MustUserID(alice): append(slices.Clip(batch), gone)}, nil
	})
	last := s.publish(t, bob, 1)
	w, b := s.holdBefore(t, 3, router) // begin, alice | end
	s.finish(t, w, b, last, router)
	if got := fmt.Sprint(sequences(s.deliveries(t))[alice]); got != "[0]" {
		t.Errorf("alice received %s, want [0]: the made up state is the newest", got)
	}
}

// The dead letter about a state that is too large is stored once, wherever the worker
// stops.
func TestTooLargeStateWithinABatch(t *testing.T) {
	t.Parallel()
	const dave = "@dave:example.com"
	huge := presence.UserState{UserID: presence.MustUserID(carol), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", 2<<20))}
	small := presence.UserState{UserID: presence.MustUserID(carol), State: presence.Busy}
	for nth := 2; nth <= 5; nth++ { // begin, letter, alice, dave, end
		t.Run(fmt.Sprintf("before message %d", nth), func(t *testing.T) {
			t.Parallel()
			s := newTailSite(t)
			router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
				return answer{
					presence.MustUserID(alice): batch,
					presence.MustUserID(dave):  append(slices.Clip(batch), huge, small),
				}, nil
			})
			last := s.publish(t, bob, 1)
			w, b := s.holdBefore(t, nth, router)
			s.finish(t, w, b, last, router)
			received := sequences(s.deliveries(t))
			if got := fmt.Sprint(received[alice], received[dave]); got != "[1] [1 0]" {
				t.Errorf("received %s, want [1] [1 0]", got)
			}
			s.wantLetters(t, 1)
		})
	}
}

// A letter is also stored where only states of updates follow.
func TestTooLargeUpdateWithinABatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		altered := slices.Clone(batch)
		for i := range altered {
			if altered[i].Published().Position == 2 {
				altered[i].StatusMsg = presence.Status(strings.Repeat("x", 2<<20))
			}
		}
		return answer{presence.MustUserID(alice): altered}, nil
	})
	last := s.publishMany(t, 0, 3)
	w, b := s.holdBefore(t, 4, router) // begin, letter, alice [1] | alice [3], end
	s.finish(t, w, b, last, router)
	if got := fmt.Sprint(sequences(s.deliveries(t))[alice]); got != "[1 3]" {
		t.Errorf("received %s, want [1 3]", got)
	}
	s.wantLetters(t, 1)
}

// Dead letters of a stream that was there before do not stand for those of this one.
func TestDeadLetterOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	subject := s.subjects.Update(presence.MustUserID(bob))
	s.publishRaw(t, subject, "no update 1", nil)
	w, b := s.holdBefore(t, 3, toEach(t, alice)) // begin, letter | end
	s.remakeUpdates(t)
	s.publishRaw(t, subject, "no update 2", nil)
	last := s.publish(t, bob, 1)
	second := s.start(t, toEach(t, alice))
	s.awaitPosition(t, last)
	b.release()
	second.stop(t)
	w.quit()
	_ = w.wait(t)
	s.wantLetters(t, 2)
}

// The updates stream loses its newest updates, of which deliveries are stored: those
// that follow under their sequences are delivered.
func TestUpdatesAreGoneWithinABatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t, onFile)
	all := readers(3)
	before := s.start(t, toEach(t, all...))
	s.awaitPosition(t, s.publishMany(t, 0, 4))
	before.stop(t)
	s.config.Worker.StopTimeout = 100 * time.Millisecond
	copied := s.backUp(t, s.subjects.UpdatesStream())
	s.publish(t, bob, 105)
	w, b := s.holdBefore(t, 4, toEach(t, all...)) // begin, two deliveries | one, end
	w.quit()
	_ = w.wait(t) // It could not finish.
	w.nc.Close()
	s.whileDown(t, func() {
		b.release()
		s.putBack(t, s.subjects.UpdatesStream(), copied)
	})
	last := s.publishMany(t, 200, 3)
	s.config.Worker.StopTimeout = eventTimeout
	second := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	second.stop(t)
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

// The deliveries stream is made again while a worker runs, which then stops within a
// batch: where the tail of the old stream was says nothing about the new one.
func TestDeliveriesAreGoneWithinABatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(4)
	direct, b := s.url, newBarrier(t, 4)
	var again atomic.Bool
	claimed := false
	s.url = startProxy(t, direct, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if claimed = claimed || again.Load() && bytes.Contains(frame, []byte("-claim-")); claimed {
			return b.look(frame)
		}
		return frame, pass
	}})
	t.Cleanup(b.release)
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, all...))})
	w.run(t)
	w.awaitReady(t)
	s.url = direct
	for i := range 10 {
		s.awaitPosition(t, s.publishMany(t, i, 1))
	}
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeliveriesStream()); err != nil {
		t.Fatal(err)
	}
	last := s.publish(t, bob, 50)
	again.Store(true)
	s.applyTopology(t)
	await(t, b.held, "batch")
	second := s.start(t, toEach(t, all...))
	s.awaitPosition(t, last)
	b.release()
	second.stop(t)
	wantOnce(t, s.deliveries(t), last, last, all...)
}

// newTailSite is newSite with workers that are missed soon.
func newTailSite(t *testing.T, changes ...func(*stream.Config)) *site {
	t.Helper()
	return newSite(t, append(changes, func(c *stream.Config) { c.Worker.TTL = time.Second })...)
}
