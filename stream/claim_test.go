package stream_test

import (
	"bytes"
	"context"
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

func TestWorkerWithoutCheckpointStarts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		start stream.Start
		first uint64
	}{
		{stream.Oldest, 1},
		{stream.Newest, 4},
	}
	for _, tt := range tests {
		t.Run(string(tt.start), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.Start = tt.start })
			s.publishMany(t, 0, 3)
			w := s.start(t, toEach(t, alice))
			last := s.publishMany(t, 3, 2)
			s.awaitPosition(t, last)
			w.stop(t)
			wantOnce(t, s.deliveries(t), tt.first, last, alice)
			w.log.want(t, 1, `msg="partitions have no checkpoint"`, "partitions=1", "start="+string(tt.start))
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
