package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	alice = "@alice:example.com"
	bob   = "@bob:example.com"
	carol = "@carol:somewhere.org"
)

// A partition without a checkpoint starts at the oldest update or behind the newest one,
// and stays there when it is claimed again.
func TestWorkerWithoutCheckpointStarts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		start    stream.Start
		before   int // updates
		purged   bool
		restarts int
		first    uint64
	}{
		{"oldest", stream.Oldest, 3, false, 0, 1},
		{"newest", stream.Newest, 3, false, 0, 4},
		{"oldest, claimed again", stream.Oldest, 3, false, 1, 1},
		{"newest, claimed again", stream.Newest, 3, false, 2, 4},
		{"newest of none", stream.Newest, 0, false, 1, 1},
		{"newest that is gone", stream.Newest, 3, true, 1, 4},
		{"oldest that is gone", stream.Oldest, 3, true, 1, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.Start = tt.start })
			s.publishMany(t, 0, tt.before)
			if tt.purged {
				if err := s.updatesStream(t).Purge(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for n := range tt.restarts + 1 {
				w := s.start(t, toEach(t, alice))
				if n == tt.restarts {
					s.awaitPosition(t, s.publishMany(t, tt.before, 2))
				}
				w.stop(t)
				starts := 1 - min(n, 1)
				w.log.want(t, starts, `msg="partitions have no checkpoint"`, "partitions=1", "start="+string(tt.start))
				w.log.want(t, 0, brokenLine)
			}
			wantOnce(t, s.deliveries(t), tt.first, uint64(tt.before)+2, alice) //nolint:gosec // Small and positive.
		})
	}
}

func TestWorkerGoesOnFromCheckpoint(t *testing.T) {
	t.Parallel()
	for _, start := range []stream.Start{stream.Oldest, stream.Newest} {
		t.Run(string(start), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.Start = start })
			first := s.start(t, toEach(t, alice))
			s.awaitPosition(t, s.publishMany(t, 0, 5))
			first.stop(t)
			last := s.publishMany(t, 5, 5) // while nobody runs
			second := s.start(t, toEach(t, alice))
			s.awaitPosition(t, last)
			second.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, alice)
			second.log.want(t, 0, "partitions have no checkpoint")
			second.log.want(t, 1, `msg="claimed the partitions"`, "partitions=1", first.ID())
		})
	}
}

// takeOver writes the checkpoint of a partition under the name of a worker that is
// not there, "thief".
func (s *site) takeOver(t *testing.T, partition int) {
	t.Helper()
	s.takeOverAs(t, "thief", partition)
}

func (s *site) takeOverAs(t *testing.T, worker string, partition int) {
	t.Helper()
	eventually(t, "takeover", func() bool {
		c, sequence := s.checkpoint(t, partition)
		c.Worker, c.Commit = worker, "thief-1"
		_, err := s.js.PublishMsg(t.Context(), &nats.Msg{
			Subject: s.subjects.Checkpoint(partition), Data: wire.AppendCheckpoint(nil, c), Header: nats.Header{"Nats-Rollup": {"sub"}},
		}, jetstream.WithExpectLastSequencePerSubject(sequence))
		return err == nil
	})
}

func TestOnePartitionIsTakenOver(t *testing.T) {
	t.Parallel()
	const partitions = 2
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Partitions = partitions
		c.Worker.TTL = time.Minute // for as long the worker leaves alone what it has lost
	})
	w := s.start(t, toEach(t, alice))
	lost := wire.Partition(presence.MustUserID(bob), partitions)
	s.takeOver(t, lost)
	s.publish(t, bob, 1)
	w.log.await(t, "partition is lost", fmt.Sprintf("partition=%d ", lost), "thief")
	w.wantReady(t, "1 partition of this worker's share is not claimed yet")
	kept := s.publish(t, otherPartition(t, partitions), 2)
	s.awaitPositionOf(t, otherPartition(t, partitions), kept)
	w.stop(t)
	wantOnce(t, s.deliveries(t), kept, kept, alice)
	if c, _ := s.checkpoint(t, lost); c.Worker != "thief" || c.Sequence != 0 {
		t.Errorf("checkpoint of the partition that is lost is %+v, want it left alone", c)
	}
	w.log.want(t, 1, "partition is lost")
}

// A partition that was lost to nobody who is there is claimed again.
func TestLostPartitionIsClaimedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 3))
	s.takeOver(t, 0)
	last := s.publishMany(t, 3, 3)
	w.log.await(t, "partition is lost", "thief")
	s.awaitPosition(t, last)
	w.log.await(t, "partitions were shared anew", "taken_over_from=map[thief:1]")
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	w.log.want(t, 1, "partition is lost")
}

// unheard has nobody hear that the workers started from now on are there, nor them
// hear of others, while the site is silent.
func (s *site) unheard(t *testing.T) {
	t.Helper()
	silence := func(operation string) func([]byte) ([]byte, verdict) {
		return func(frame []byte) ([]byte, verdict) {
			if bytes.Contains(frame[:min(len(frame), 80)], []byte(operation)) && s.silent.Load() {
				return frame, swallow
			}
			return frame, pass
		}
	}
	s.url = startProxy(t, s.server.URL(), &proxy{fromClient: silence("PUB $KV."), fromServer: silence("MSG $KV.")})
}

// A worker that was away for a while, and another has gone on since: what it routed
// meanwhile is not stored.
func TestZombieIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.unheard(t)
	asked, release := make(chan struct{}, 10), make(chan struct{})
	zombie := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		asked <- struct{}{}
		<-release
		return everybody([]presence.UserID{presence.MustUserID(alice), presence.MustUserID("@zombie:example.com")}, batch), nil
	}))
	s.publishMany(t, 0, 3)
	await(t, asked, "call of the router")
	s.silent.Store(true)
	s.url = s.server.URL()
	second := s.start(t, toEach(t, alice))
	last := s.publishMany(t, 3, 3)
	s.awaitPosition(t, last)
	close(release)
	zombie.log.await(t, "partition is lost", second.ID())
	zombie.wantReady(t, "not a member")
	second.stop(t)
	zombie.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	if c, _ := s.checkpoint(t, 0); c.Worker != second.ID() {
		t.Errorf("checkpoint is of worker %s, want %s", c.Worker, second.ID())
	}
}

// A worker that was started again has the ID of the one before, which finds out all the
// same that it is replaced.
func TestZombieIsRefusedThoughItsSuccessorHasItsID(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) {
			c.Streams.Deliveries.FastIngest = fastIngest
			c.Worker.TTL = time.Minute // for as long the worker leaves alone what it has lost
		})
		w := s.start(t, toEach(t, alice))
		last := s.publishMany(t, 0, 3)
		s.awaitPosition(t, last)
		s.takeOverAs(t, w.ID(), 0)
		s.publish(t, bob, 4)
		w.log.await(t, "partition is lost", w.ID())
		w.stop(t)
		wantOnce(t, s.deliveries(t), 1, last, alice)
		if c, _ := s.checkpoint(t, 0); c.Commit != "thief-1" {
			t.Errorf("checkpoint is %+v, want it left alone", c)
		}
	})
}

// A worker whose heartbeats are not stored claims nothing, until they are.
func TestWorkerThatIsNoMemberClaimsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Second })
	s.unheard(t)
	w := s.start(t, toEach(t, alice))
	s.silent.Store(true)
	w.wantReady(t, "not a member")
	s.takeOver(t, 0)
	last := s.publish(t, bob, 1)
	w.log.await(t, "partition is lost", "thief")
	<-time.After(s.config.Worker.TTL) // longer than a member leaves a partition alone that it has lost
	if c, _ := s.checkpoint(t, 0); c.Worker != "thief" {
		t.Errorf("checkpoint is of worker %s, want it left to the thief", c.Worker)
	}
	s.silent.Store(false)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// The owner of a partition commits between a claimer's look at the checkpoint and
// its own: the claimer looks again.
func TestClaimIsRefusedWhereTheOwnerGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.unheard(t)
	first := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 3))

	s.silent.Store(true)
	claiming, goOn := make(chan struct{}, 10), make(chan struct{})
	letGoOn := sync.OnceFunc(func() { close(goOn) })
	defer letGoOn()
	s.url = startProxy(t, s.server.URL(), &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if bytes.HasPrefix(frame, []byte("HPUB presence.checkpoint.0 ")) {
			claiming <- struct{}{}
			<-goOn
		}
		return frame, pass
	}})
	second := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	second.run(t)
	await(t, claiming, "claim")
	s.awaitPosition(t, s.publishMany(t, 3, 3))
	letGoOn()
	second.awaitReady(t)
	last := s.publish(t, bob, 7)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Worker == second.ID() && c.Sequence == last })
	first.log.await(t, "partition is lost", second.ID()) // It hears of nobody: only the fence tells it.
	second.stop(t)
	first.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// The first claim, or the answer to it, is lost. One that counts is not done again.
func TestUnknownOutcomeOfClaim(t *testing.T) {
	t.Parallel()
	isClaim := func(frame []byte) bool { return bytes.HasPrefix(frame, []byte("HPUB presence.checkpoint.0 ")) }
	tests := []struct {
		name  string
		proxy *proxy
	}{
		{"answer is lost", &proxy{fromServer: onNth(1, isAnswer, swallow)}},
		{"claim is lost", &proxy{fromClient: onNth(1, isClaim, swallow)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.CheckpointInterval = time.Minute })
			s.url = startProxy(t, s.url, tt.proxy)
			began := time.Now()
			w := s.start(t, toEach(t, alice))
			if took := time.Since(began); took < time.Second {
				t.Fatalf("the worker was ready within %v, want that it missed an answer", took)
			}
			if _, sequence := s.checkpoint(t, 0); sequence != 1 {
				t.Errorf("checkpoint has sequence %d, want 1: it is written once", sequence)
			}
			last := s.publish(t, bob, 1)
			s.awaitPosition(t, last)
			w.stop(t)
			wantOnce(t, s.deliveries(t), 1, last, alice)
		})
	}
}

// A claim writes nothing unless it could read everything: what it cannot read does not count
// as missing.
func TestClaimThatCannotRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(*testing.T, *site)
		reads   int
		want    uint64 // the update that the partition goes on behind
	}{
		{"no checkpoint", func(*testing.T, *site) {}, 1, 0},
		{"a checkpoint", func(t *testing.T, s *site) {
			t.Helper()
			s.leaveCheckpoint(t, nil)
		}, 2, 3},
		{"a forged checkpoint", func(t *testing.T, s *site) {
			t.Helper()
			s.leaveCheckpoint(t, nil)
			s.forge(t, s.subjects.Checkpoint(0), bob, 4)
			s.awaitForged(t, 0)
		}, 4, 3},
		{"a forged checkpoint alone", func(t *testing.T, s *site) {
			t.Helper()
			s.forge(t, s.subjects.Checkpoint(0), bob, 4)
			s.awaitForged(t, 0)
		}, 2, 0},
		{"updates stream made again", func(t *testing.T, s *site) {
			t.Helper()
			s.leaveCheckpoint(t, nil)
			s.remakeUpdates(t)
			s.publishMany(t, 10, 3)
		}, 2, 0},
		{"updates of another stream", func(t *testing.T, s *site) {
			t.Helper()
			s.leaveCheckpoint(t, func(c *wire.Checkpoint) { c.Created = c.Created.Add(-time.Second) })
		}, 3, 3},
	}
	for _, tt := range tests {
		for read := range tt.reads {
			t.Run(fmt.Sprintf("%s, read %d", tt.name, read+1), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				tt.prepare(t, s)
				testClaimThatCannotRead(t, s, read+1, tt.want)
			})
		}
	}
}

// leaveCheckpoint stores a checkpoint behind three updates, as a worker left it that is
// gone. change may be nil.
func (s *site) leaveCheckpoint(t *testing.T, change func(*wire.Checkpoint)) {
	t.Helper()
	last := s.publishMany(t, 0, 3)
	m, err := s.updatesStream(t).GetMsg(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	created := s.updatesStream(t).CachedInfo().Created
	c := wire.Checkpoint{Epoch: created.UnixMilli(), Sequence: last, Time: m.Time, Created: created, Worker: "gone", Commit: "gone-1"}
	if change != nil {
		change(&c)
	}
	s.publishRaw(t, s.subjects.Checkpoint(0), string(wire.AppendCheckpoint(nil, c)), nats.Header{"Nats-Rollup": {"sub"}})
}

func testClaimThatCannotRead(t *testing.T, s *site, nth int, want uint64) {
	t.Helper()
	fault := &readFault{}
	s.url = startProxy(t, s.url, &proxy{fromClient: fault.ask, fromServer: fault.answer})
	w := s.newWorkerToAlice(t)
	_, before := s.newestInPlace(t)
	for _, garbled := range []bool{false, true} {
		fault.set(nth, garbled)
		if got, err := w.Claim(t.Context(), 0); err == nil {
			t.Errorf("Claim = %+v with the answer garbled %t, want an error", got, garbled)
		}
		if left, after := s.newestInPlace(t); after != before {
			t.Errorf("the claim with the answer garbled %t writes %s, want nothing", garbled, left)
		}
	}
	fault.set(0, false)
	if got, err := w.Claim(t.Context(), 0); err != nil || got.Sequence != want {
		t.Errorf("Claim = %+v, %v, want it behind update %d", got, err, want)
	}
	if fault.seen < nth {
		t.Errorf("a claim reads %d times, want at least %d", fault.seen, nth)
	}
}

// newestInPlace returns the newest message in place of the checkpoint of partition 0, and
// its sequence, 0 for none.
func (s *site) newestInPlace(t *testing.T) ([]byte, uint64) {
	t.Helper()
	m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), s.subjects.Checkpoint(0))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Data, m.Sequence
}

// readFault has one of the single messages that a worker reads come to an error: the server
// is asked for one of another stream, or its answer is garbled.
type readFault struct {
	mu      sync.Mutex
	nth     int // of the reads, 0 for none
	garbled bool
	seen    int
	inbox   []byte
}

func (f *readFault) set(nth int, garbled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nth, f.garbled, f.seen, f.inbox = nth, garbled, 0, nil
}

func (f *readFault) ask(frame []byte) ([]byte, verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.MSG.GET.")) {
		return frame, pass
	}
	f.seen++
	switch {
	case f.seen != f.nth:
	case f.garbled:
		f.inbox = bytes.Clone(bytes.Fields(frame)[2])
	default:
		frame = bytes.Replace(frame, []byte("GET.PRESENCE_"), []byte("GET.ABSENCE__"), 1)
	}
	return frame, pass
}

func (f *readFault) answer(frame []byte) ([]byte, verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fields := bytes.Fields(frame); f.inbox != nil && len(fields) > 1 && bytes.Equal(fields[1], f.inbox) {
		f.inbox = nil
		return bytes.Replace(frame, []byte(`{"type":`), []byte(`["type":`), 1), pass
	}
	return frame, pass
}

// A claim waits out the time for which replicas remember a batch, whatever the server says
// of the batch that its checkpoint names, and never without replicas or a batch.
func TestClaimPausesBehindABatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		replicas bool
		batch    string
		paused   bool
	}{
		{"a batch that the server does not know", true, "gone", true},
		{"a batch without replicas", false, "gone", false},
		{"no batch", true, "", false},
		{"no batch and no replicas", false, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.leaveCheckpoint(t, func(c *wire.Checkpoint) { c.Batch = tt.batch })
			s.url = startProxy(t, s.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
				if tt.replicas && bytes.Contains(frame, []byte(`"name":"PRESENCE_DELIVERIES"`)) {
					frame = bytes.Replace(frame, []byte(`"num_replicas":1`), []byte(`"num_replicas":3`), 1)
				}
				return frame, pass
			}})
			w := s.newWorkerToAlice(t)
			var paused []time.Duration
			w.OnPause(func(d time.Duration) { paused = append(paused, d) })
			if got, err := w.Claim(t.Context(), 0); err != nil || got.Sequence != 3 {
				t.Errorf("Claim = %+v, %v, want it behind update 3", got, err)
			}
			if (len(paused) == 1) != tt.paused || len(paused) > 1 || tt.paused && paused[0] <= 10*time.Second {
				t.Errorf("the claim pauses for %v, want that once for more than 10s %t", paused, tt.paused)
			}
		})
	}
}
