package stream_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
	g := &barrier{nth: nth, held: make(chan struct{}), open: make(chan struct{})}
	t.Cleanup(g.release)
	return g
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

// makingUp is a router that gives every update to all, and makes up a state for the
// first of them.
func makingUp(t *testing.T, all ...string) routing.Router {
	t.Helper()
	return routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, r := range all {
			a[presence.MustUserID(r)] = batch
		}
		first := presence.MustUserID(all[0])
		a[first] = append(slices.Clip(batch), presence.UserState{UserID: first, State: presence.Online})
		return a, nil
	})
}

// wantEverythingOnce checks that each of recipients received the updates first to
// last once and in order, and the first of them a made up state for each of them,
// once for the same updates.
func (s *site) wantEverythingOnce(t *testing.T, first, last uint64, recipients ...string) {
	t.Helper()
	deliveries := s.deliveries(t)
	times := make(map[uint64]int)
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
			times[sequence]++
		}
		deliveries[i].Sequences = d.Sequences[:at] // They come last.
	}
	for sequence := first; sequence <= last; sequence++ {
		if times[sequence] != 1 {
			t.Errorf("%d states were made up for update %d, want 1", times[sequence], sequence)
		}
	}
	wantOnce(t, deliveries, first, last, recipients...)
}

// A worker that stops anywhere within a batch, is taken over from and goes on,
// repeats nothing and adds nothing.
func TestWorkerStopsWithinABatch(t *testing.T) {
	t.Parallel()
	const recipients, letters = 5, 2
	for nth := 1; nth <= recipients+letters+2; nth++ {
		t.Run(fmt.Sprintf("before message %d", nth), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Second })
			direct, g := s.url, newBarrier(t, nth)
			s.url = startProxy(t, direct, &proxy{fromClient: g.look})
			all := readers(recipients)
			for i := range letters {
				s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), fmt.Sprintf("no update %d", i), nil)
			}
			s.publishMany(t, 0, 10)
			first := s.newWorker(t, []routing.Registration{registration(makingUp(t, all...))})
			first.run(t)
			await(t, g.held, "first batch")
			s.url = direct
			last := s.publishMany(t, 10, 10)
			second := s.start(t, makingUp(t, all...))
			s.awaitPosition(t, last)
			g.release()
			first.log.await(t, "partition is lost")
			first.stop(t)
			second.stop(t)
			s.wantEverythingOnce(t, letters+1, last, all...)
			if got := natstest.Count(t, s.js, s.subjects.DeliveriesStream(), s.subjects.DeadAll()); got != letters {
				t.Errorf("%d dead letters, want %d", got, letters)
			}
		})
	}
}

// What an earlier worker has stored is known to the next but one, too, where the
// one between them committed nothing or a part.
func TestBatchIsFinishedByTheThirdWorker(t *testing.T) {
	t.Parallel()
	const recipients = 5
	for name, nth := range map[string]int{"nothing": 1, "a part": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Second })
			direct := s.url
			all := readers(recipients)
			last := s.publishMany(t, 0, 10)
			var stopped []*worker
			var barriers []*barrier
			for _, n := range []int{3, nth} {
				g := newBarrier(t, n)
				s.url = startProxy(t, direct, &proxy{fromClient: g.look})
				w := s.newWorker(t, []routing.Registration{registration(makingUp(t, all...))})
				w.run(t)
				await(t, g.held, "batch")
				stopped, barriers = append(stopped, w), append(barriers, g)
			}
			s.url = direct
			third := s.start(t, makingUp(t, all...))
			s.awaitPosition(t, last)
			for i, w := range stopped {
				barriers[i].release()
				w.log.await(t, "partition is lost")
				w.stop(t)
			}
			third.stop(t)
			s.wantEverythingOnce(t, 1, last, all...)
			if c, _ := s.checkpoint(t, 0); c.Batch != "" || c.Tail != 0 {
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
