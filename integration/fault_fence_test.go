package integration_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// TestFaultTakenOver takes partitions away from a worker under load, which believes
// that it owns them, and leaves them to nobody: the worker claims them again.
func TestFaultTakenOver(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	takeovers := e.count(10, 50)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(e.count(4_000, 20_000))
	window := e.window(3*time.Second, 10)
	publishing := d.publishing(published, window)
	taken := make(map[int]int)
	for range takeovers {
		<-randomMoment(l.numbers, window, takeovers)
		p := l.numbers.IntN(partitions)
		taken[p]++
		d.takeOver(p)
	}
	<-publishing
	nudges := d.nudge(l)
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)
	for p, times := range taken {
		worker.wantLost(p, "thief", times)
	}

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, bySequence(published, nudges))
}

// TestFaultZombie stops a worker in the middle of its work (SIGSTOP) until another
// has taken over, and wakes it up.
func TestFaultZombie(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	rounds := e.count(2, 8)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	workers := []*workerProcess{d.startReady(), d.startReady()}
	checkpoints := d.watch(ignore)

	published := l.updates(e.count(4_000, 20_000))
	publishing := d.publishing(published, e.window(4*time.Second, 10))
	var nudges []integration.Update
	for round := range rounds {
		zombie, other := workers[round%2], workers[(round+1)%2]
		zombie.signal(syscall.SIGSTOP)
		d.awaitOwner(other)
		zombie.signal(syscall.SIGCONT)
		nudges = append(nudges, d.nudge(l)...)
		d.awaitShares(workers)
	}
	<-publishing
	d.awaitCommitted()
	for _, w := range workers {
		w.terminate(syscall.SIGTERM)
	}

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, bySequence(published, nudges))
}

// TestFaultStartedTogether starts workers at the same moment: each partition ends
// up with one of them, whichever that is.
func TestFaultStartedTogether(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	d.startReady().terminate(syscall.SIGTERM) // makes the streams
	checkpoints := d.watch(ignore)
	published := l.updates(e.count(4_000, 20_000))
	publishing := d.publishing(published, e.window(2*time.Second, 5))
	workers := []*workerProcess{d.start(), d.start(), d.start()}
	<-publishing
	d.awaitCommitted()
	for _, w := range workers {
		w.signal(syscall.SIGTERM)
		<-w.exited
	}

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// nudge publishes one update to each partition, so that whoever believes to own it
// has something to commit.
func (d *deployment) nudge(l *load) []integration.Update {
	d.t.Helper()
	var updates []integration.Update
	for p := range partitions {
		in := slices.IndexFunc(l.users, func(user presence.UserID) bool { return wire.Partition(user, partitions) == p })
		if in < 0 {
			d.t.Fatalf("no user is in partition %d", p)
		}
		updates = append(updates, l.update(l.users[in]))
	}
	d.publish(updates)
	return updates
}

// bySequence joins updates that were published side by side, in the order of their
// storing.
func bySequence(updates ...[]integration.Update) []integration.Update {
	return slices.SortedFunc(slices.Values(slices.Concat(updates...)), func(a, b integration.Update) int {
		return cmp.Compare(a.Sequence, b.Sequence)
	})
}

// takeOver rewrites the checkpoint of a partition under the name of a worker that
// is not there.
func (d *deployment) takeOver(partition int) {
	d.t.Helper()
	d.eventually(fmt.Sprintf("takeover of partition %d", partition), func(ctx context.Context) error {
		m, err := d.lastMessage(ctx, d.subjects.DeliveriesStream(), d.subjects.Checkpoint(partition))
		if err != nil {
			return err
		}
		c, err := wire.DecodeCheckpoint(m.Data)
		if err != nil {
			return err
		}
		c.Worker, c.Commit = "thief", fmt.Sprintf("thief-%d", m.Sequence)
		_, err = d.js.PublishMsg(ctx, &nats.Msg{
			Subject: d.subjects.Checkpoint(partition), Data: wire.AppendCheckpoint(nil, c),
			Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {"never"}},
		}, jetstream.WithExpectLastSequencePerSubject(m.Sequence))
		return err
	})
}

// owned returns how many partitions each worker says it has.
func (d *deployment) owned(ctx context.Context) (map[string]int, error) {
	bucket, err := d.js.KeyValue(ctx, d.subjects.WorkersBucket())
	if err != nil {
		return nil, err
	}
	keys, err := bucket.ListKeys(ctx)
	if err != nil {
		return nil, err
	}
	owned := make(map[string]int)
	for key := range keys.Keys() {
		entry, err := bucket.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		h, err := wire.DecodeHeartbeat(entry.Value())
		if err != nil {
			return nil, err
		}
		owned[h.Worker] = len(h.Partitions)
	}
	return owned, nil
}

// awaitOwner waits until a worker has every partition.
func (d *deployment) awaitOwner(w *workerProcess) {
	d.t.Helper()
	d.eventually("every partition at worker "+w.id, func(ctx context.Context) error {
		owned, err := d.owned(ctx)
		if err == nil && owned[w.id] != partitions {
			err = fmt.Errorf("owned are %v", owned)
		}
		return err
	})
}

// awaitShares waits until the partitions are shared evenly.
func (d *deployment) awaitShares(workers []*workerProcess) {
	d.t.Helper()
	d.eventually("even shares", func(ctx context.Context) error {
		owned, err := d.owned(ctx)
		if err != nil {
			return err
		}
		total := 0
		for _, w := range workers {
			total += owned[w.id]
			if n := owned[w.id]; n < partitions/len(workers) || n > (partitions+len(workers)-1)/len(workers) {
				return fmt.Errorf("owned are %v", owned)
			}
		}
		if total != partitions {
			return fmt.Errorf("owned are %v", owned)
		}
		return nil
	})
}

// wantLost wants the worker to have said that it lost a partition, once each time:
// what is taken again before the worker has noticed is lost once.
func (w *workerProcess) wantLost(partition int, to string, times int) {
	w.t.Helper()
	text := fmt.Sprintf("partition %d was taken over by worker \\\"%s\\\"", partition, to)
	if lines, _ := w.log.matching(text); len(lines) == 0 || len(lines) > times {
		w.t.Errorf("worker %s wrote %d lines about %q, want 1 to %d", w.id, len(lines), text, times)
	}
}
