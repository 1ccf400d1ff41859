package stream_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const foreignLine = "no worker wrote the newest message in place of a checkpoint"

// forge publishes an update of user with a subject of the workers' own for the answer:
// the server's acknowledgement is stored there. It returns once the update is stored.
func (s *site) forge(t *testing.T, subject, user string, mark int) {
	t.Helper()
	before := s.updatesStream(t).CachedInfo().State.LastSeq
	err := s.nc.PublishMsg(&nats.Msg{
		Subject: s.subjects.Update(presence.MustUserID(user)), Reply: subject, Data: []byte(update(user, mark)),
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "stored update", func() bool { return s.updatesStream(t).CachedInfo().State.LastSeq > before })
}

// forgeAll forges the checkpoint of every partition, in order.
func (s *site) forgeAll(t *testing.T, mark int) {
	t.Helper()
	for p := range sharedPartitions {
		s.forge(t, s.subjects.Checkpoint(p), userIn(t, p), mark)
	}
}

// awaitForged waits until the newest message in place of a partition's checkpoint is an
// acknowledgement.
func (s *site) awaitForged(t *testing.T, partition int) {
	t.Helper()
	eventually(t, fmt.Sprintf("forged checkpoint of partition %d", partition), func() bool {
		m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), s.subjects.Checkpoint(partition))
		return err == nil && strings.HasPrefix(string(m.Data), `{"stream":`)
	})
}

// wantRepaired checks that nothing but one checkpoint stands where each is to be.
func (s *site) wantRepaired(t *testing.T) {
	t.Helper()
	for p := range s.config.Streams.Partitions {
		eventually(t, fmt.Sprintf("one checkpoint of partition %d", p), func() bool {
			_, sequence, err := s.readCheckpoint(t.Context(), p)
			return err == nil && sequence > 0 && natstest.Count(t, s.js, s.subjects.DeliveriesStream(), s.subjects.Checkpoint(p)) == 1
		})
	}
	for _, warning := range s.status(t).Warnings(time.Hour) {
		if strings.Contains(warning, "no worker wrote") {
			t.Errorf("status warns %q after the repair", warning)
		}
	}
}

// Whoever has the server acknowledge updates in place of checkpoints stops nothing:
// workers go on from the checkpoints that they wrote, repeat nothing, and replace what
// is there.
func TestForgedCheckpoints(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		attack func(*testing.T, *site, *worker) (*worker, uint64) // returns who runs then, and the last update
	}{
		{"while nothing happens", func(t *testing.T, s *site, w *worker) (*worker, uint64) {
			t.Helper()
			s.forgeAll(t, 101)
			w.log.await(t, foreignLine)
			s.wantRepaired(t)
			return w, s.publishToAll(t, 101, 3)
		}},
		{"again and again under load", func(t *testing.T, s *site, w *worker) (*worker, uint64) {
			t.Helper()
			for round := range 20 {
				s.publishToAll(t, 100+2*round, 1)
				s.forgeAll(t, 102+2*round)
			}
			return w, s.publishToAll(t, 200, 3)
		}},
		{"while no worker runs", func(t *testing.T, s *site, w *worker) (*worker, uint64) {
			t.Helper()
			w.stop(t)
			s.forgeAll(t, 101)
			s.forgeAll(t, 102)
			for p := range sharedPartitions {
				s.awaitForged(t, p)
			}
			s.wantForgedStatus(t)
			w = s.start(t, toEach(t, alice))
			w.log.await(t, foreignLine)
			s.wantRepaired(t)
			return w, s.publishToAll(t, 102, 3)
		}},
		{"while another worker joins", func(t *testing.T, s *site, w *worker) (*worker, uint64) {
			t.Helper()
			second := s.newWorkerToAlice(t)
			s.forgeAll(t, 101)
			second.run(t)
			s.forgeAll(t, 102)
			second.awaitReady(t)
			s.forgeAll(t, 103)
			w.stop(t)
			return second, s.publishToAll(t, 103, 3)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBothWays(t, func(t *testing.T, fastIngest bool) {
				t.Helper()
				t.Parallel()
				began := time.Now()
				s := newSite(t, shared, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fastIngest })
				w := s.newWorkerToAlice(t)
				w.run(t)
				s.awaitAll(t, s.publishToAll(t, 0, 10))
				w, last := tt.attack(t, s, w)
				s.awaitAll(t, last)
				s.wantRepaired(t)
				w.awaitReady(t)
				w.stop(t)
				wantEachOnce(t, s.deliveries(t), last)
				w.log.want(t, 0, "partition is lost")
				w.log.want(t, 0, purgedLine)
				if len(w.log.with(foreignLine)) > 0 {
					w.log.wantReminders(t, began, foreignLine)
				}
			})
		})
	}
}

func (s *site) newWorkerToAlice(t *testing.T) *worker {
	t.Helper()
	return s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
}

// wantForgedStatus checks that status works, and warns once of all partitions.
func (s *site) wantForgedStatus(t *testing.T) {
	t.Helper()
	status := s.status(t)
	for _, p := range status.Partitions {
		if p.Sequence == 0 || p.CommittedBy == "" || !strings.Contains(p.Unsound, "Nats-Rollup is missing") {
			t.Errorf("partition is %+v, want the newest position of a worker and what is wrong", p)
		}
	}
	var warned []string
	for _, warning := range status.Warnings(time.Hour) {
		if strings.Contains(warning, "no worker wrote") {
			warned = append(warned, warning)
		}
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "partitions 0, 1, 2, 3") {
		t.Errorf("warnings are %q, want one about partitions 0, 1, 2, 3", warned)
	}
}

// A checkpoint that is forged within a batch of fast ingest, or between a batch that
// was not finished and its tail, moves no tail.
func TestForgedCheckpointWithinABatch(t *testing.T) {
	t.Parallel()
	const recipients = 5
	for nth := 2; nth <= recipients+2; nth++ {
		t.Run(fmt.Sprintf("before message %d", nth), func(t *testing.T) {
			t.Parallel()
			s := newTailSite(t)
			all := readers(recipients)
			s.publishMany(t, 0, 10)
			first, b := s.holdBefore(t, nth, makingUp(t, all...))
			s.forge(t, s.subjects.Checkpoint(0), bob, 11)
			s.awaitForged(t, 0)
			last := s.publishMany(t, 11, 10)
			s.finish(t, first, b, last, makingUp(t, all...))
			s.wantEverythingOnce(t, 1, last, all...)
			s.wantRepaired(t)
		})
	}
}

// The worker that began a batch goes on with it after a checkpoint was forged.
func TestForgedCheckpointWithinTheOwnBatch(t *testing.T) {
	t.Parallel()
	s := newTailSite(t)
	all := readers(5)
	s.publishMany(t, 0, 10)
	w, b := s.holdBefore(t, 4, makingUp(t, all...))
	s.forge(t, s.subjects.Checkpoint(0), bob, 11)
	s.awaitForged(t, 0)
	b.release()
	last := s.publishMany(t, 11, 10)
	s.awaitPosition(t, last)
	w.stop(t)
	s.wantEverythingOnce(t, 1, last, all...)
	s.wantRepaired(t)
}

// A worker that has been replaced is told so by the newest checkpoint, also if what
// stands there is forged.
func TestZombieIsRefusedBehindAForgedCheckpoint(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		s := newSite(t, func(c *stream.Config) {
			c.Streams.Deliveries.FastIngest = fastIngest
			c.Worker.TTL = time.Minute
		})
		held := newHeld()
		zombie := s.newWorker(t, []routing.Registration{registration(held.router(t))})
		zombie.run(t)
		s.publishMany(t, 0, 3)
		await(t, held.asked, "call of the router")
		s.takeOver(t, 0)
		s.forge(t, s.subjects.Checkpoint(0), bob, 4)
		s.awaitForged(t, 0)
		close(held.release)
		zombie.log.await(t, "partition is lost", "thief")
		zombie.stop(t)
		wantOnce(t, s.deliveries(t), 1, 0)
		s.awaitForged(t, 0)
	})
}

// However many messages stand in place of a checkpoint, the one before them is found.
func TestFloodOfForgedCheckpoints(t *testing.T) {
	t.Parallel()
	const forged, bound = 10_000, 10 * time.Second
	s := newSite(t)
	first := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishMany(t, 0, 10))
	first.stop(t)
	for i := range forged {
		if err := s.nc.Publish(s.subjects.Checkpoint(0), fmt.Appendf(nil, `{"stream":"PRESENCE_UPDATES","seq":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "flood", func() bool { return s.deliveriesStream(t).CachedInfo().State.Msgs >= forged })
	began := time.Now()
	if p := s.status(t).Partitions[0]; p.Sequence != 10 || p.Unsound == "" {
		t.Errorf("partition is %+v, want update 10 and what is wrong", p)
	}
	second := s.start(t, toEach(t, alice))
	last := s.publishMany(t, 10, 3)
	s.awaitPosition(t, last)
	if took := time.Since(began); took > bound {
		t.Errorf("it took %v to go on behind %d forged checkpoints, want less than %v", took, forged, bound)
	}
	second.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	s.wantRepaired(t)
}

// What is forged before any checkpoint is written is as if there were none. What may have
// replaced a checkpoint is not passed over.
func TestForgedFirstCheckpoint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.forge(t, s.subjects.Checkpoint(0), bob, 1)
	s.awaitForged(t, 0)
	w := s.start(t, toEach(t, alice))
	last := s.publishMany(t, 1, 3)
	s.awaitPosition(t, last)
	s.replaceCheckpoint(t)
	last = s.publishMany(t, 4, 3)
	s.awaitPosition(t, last) // It knows what it wrote.
	w.stop(t)
	s.replaceCheckpoint(t)
	s.config.Worker.StartTimeout = time.Second
	second := s.newWorkerToAlice(t)
	second.run(t)
	if err := second.wait(t); err == nil || !strings.Contains(err.Error(), "topology repair") {
		t.Errorf("Run = %v, want that the checkpoint is to be repaired", err)
	}
	if p := s.status(t).Partitions[0]; !p.Replaced {
		t.Errorf("partition is %+v, want that its checkpoint was replaced", p)
	}
	wantOnce(t, s.deliveries(t), 1, last, alice)
}

// replaceCheckpoint stores rubbish that deletes the checkpoint of partition 0.
func (s *site) replaceCheckpoint(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, &nats.Msg{
		Subject: s.subjects.Checkpoint(0), Data: []byte("rubbish"),
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Updates are delivered while somebody keeps storing messages in place of the
// checkpoint.
func TestForgedCheckpointsKeepComing(t *testing.T) {
	t.Parallel()
	inBothWays(t, func(t *testing.T, fastIngest bool) {
		t.Helper()
		t.Parallel()
		began := time.Now()
		s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = fastIngest })
		forged, stop := s.keepForging(t)
		w := s.newWorkerToAlice(t)
		w.run(t)
		last := uint64(0)
		for round := range 10 {
			await(t, forged, "forged checkpoint")
			last = s.publishMany(t, 10*round, 10)
			s.awaitPosition(t, last)
		}
		stop()
		w.awaitReady(t)
		w.stop(t)
		wantOnce(t, s.deliveries(t), 1, last, alice)
		w.log.wantReminders(t, began, foreignLine)
	})
}

// keepForging stores what looks like an acknowledgement in place of the checkpoint of
// partition 0, again and again until stop is called: every 20 ms, or, on a busy machine, in
// the time of as many round trips as leave a worker time for its own between two. The
// channel gets a value then.
func (s *site) keepForging(t *testing.T) (forged <-chan struct{}, stop func()) {
	t.Helper()
	const every, trips = 20 * time.Millisecond, 50
	told, quit, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		pause := every
		for {
			select {
			case <-time.After(pause):
				_ = s.nc.Publish(s.subjects.Checkpoint(0), []byte(`{"stream":"PRESENCE_UPDATES","seq":1}`))
				trip, err := s.nc.RTT()
				if err != nil {
					return // The connection is closed.
				}
				pause = max(every, trips*trip)
				select {
				case told <- struct{}{}:
				default:
				}
			case <-quit:
				return
			}
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() { close(quit) })
		<-done
	}
	t.Cleanup(stop)
	return told, stop
}

// What reads like a checkpoint and was not stored as workers store theirs is none.
func TestCheckpointOfNoWorker(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		store func(*testing.T, *site) error
		want  string
	}{
		{"written without a rollup", func(t *testing.T, s *site) error {
			t.Helper()
			c, _ := s.checkpoint(t, 0)
			c.Sequence, c.Worker, c.Commit = 1, "forger", "forged"
			return s.nc.Publish(s.subjects.Checkpoint(1), wire.AppendCheckpoint(nil, c))
		}, "Nats-Rollup is missing"},
		{"sent by the server to who read it", func(t *testing.T, s *site) error {
			t.Helper()
			get := "$JS.API.DIRECT.GET." + s.subjects.DeliveriesStream() + "." + s.subjects.Checkpoint(0)
			return s.nc.PublishRequest(get, s.subjects.Checkpoint(1), nil)
		}, "Nats-Stream is there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			reader, meter := newMeter()
			w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))}, meter)
			w.run(t)
			last := s.publishToAll(t, 0, 5)
			s.awaitAll(t, last)
			_, before := s.checkpoint(t, 1)
			if err := tt.store(t, s); err != nil {
				t.Fatal(err)
			}
			eventually(t, "message in place of the checkpoint", func() bool {
				m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), s.subjects.Checkpoint(1))
				return err == nil && (m.Sequence > before || len(m.Header["Nats-Stream"]) > 1) // A copy names the sequence of the original first.
			})
			last = s.publishToAll(t, 5, 5)
			s.awaitAll(t, last)
			w.log.await(t, foreignLine, "partition=1 ", tt.want)
			if n := collect(t, reader).values["presence_router_foreign_checkpoints{partition=1}"]; n != 1 {
				t.Errorf("%d foreign checkpoints of partition 1 are counted, want 1", n)
			}
			s.wantRepaired(t)
			w.stop(t)
			wantEachOnce(t, s.deliveries(t), last)
			w.log.want(t, 0, "partition is lost")
		})
	}
}
