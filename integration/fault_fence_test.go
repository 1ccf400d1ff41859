package integration_test

import (
	"cmp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// TestFaultTakenOver starts one worker after the other under load, each while the
// one before still believes that it owns every partition.
func TestFaultTakenOver(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	takeovers := e.count(3, 10)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(e.count(4_000, 20_000))
	window := e.window(3*time.Second, 10)
	publishing := d.publishing(published, window)
	var nudges []integration.Update
	for range takeovers {
		<-randomMoment(l.numbers, window, takeovers)
		next := d.startReady()
		nudges = append(nudges, d.nudge(l)...)
		worker.wantLost(next)
		worker = next
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, bySequence(published, nudges))
}

// TestFaultZombie stops a worker in the middle of its work (SIGSTOP), has another
// take over, and wakes the first one up.
func TestFaultZombie(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	rounds := e.count(3, 10)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(e.count(4_000, 20_000))
	window := e.window(3*time.Second, 10)
	publishing := d.publishing(published, window)
	var nudges []integration.Update
	for range rounds {
		<-randomMoment(l.numbers, window, rounds)
		worker.signal(syscall.SIGSTOP)
		next := d.startReady()
		<-randomMoment(l.numbers, 100*time.Millisecond, 1)
		worker.signal(syscall.SIGCONT)
		nudges = append(nudges, d.nudge(l)...)
		worker.wantLost(next)
		worker = next
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)

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

// wantLost wants the worker to notice that another one took all of its partitions
// over, to say so once for each, and to end with 1.
func (w *workerProcess) wantLost(to *workerProcess) {
	w.t.Helper()
	w.awaitExit(1)
	w.wantLines(partitions, `msg="partition is lost"`)
	w.wantAtMost(2*partitions + 10)
	if lines, _ := w.log.matching("was taken over by worker \\\"" + to.id + "\\\""); len(lines) != partitions {
		w.t.Errorf("worker %s names %s in %d lines, want %d", w.id, to.id, len(lines), partitions)
	}
}
