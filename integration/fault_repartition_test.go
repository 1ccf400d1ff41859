package integration_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

// TestFaultRepartition changes the number of partitions under load, up and down
// again, and kills a worker and the command meanwhile: run again, it goes on.
func TestFaultRepartition(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), e.count(500, 5_000), 3)
	d := deploy(t, l)
	workers := []*workerProcess{d.startReady(), d.startReady()}
	checkpoints := d.watch(ignore)

	window := e.window(2*time.Second, 10)
	published := l.updates(e.count(6_000, 60_000))
	publishing := d.publishing(published, window)
	numbers := []int{24, 8}
	for round := range e.count(1, 3) {
		for i, n := range numbers {
			victim := (round + i) % len(workers)
			<-randomMoment(l.numbers, window/2, 2*len(numbers))
			d.killRepartition(l, n)
			workers[victim].kill()
			if i == 0 { // the other worker does it alone
				d.repartition(n)
			}
			workers[victim] = d.start()
			d.repartition(n)
		}
	}
	<-publishing
	d.repartition(partitions)
	d.awaitCommitted()
	for _, w := range workers {
		w.terminate(syscall.SIGTERM)
	}

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// TestFaultRepartitionWithoutWorkers changes the number of partitions while no worker
// is there. A single update that nobody has routed, the last one of its partition, holds
// the change up until workers come; if nothing is left, it needs none.
func TestFaultRepartitionWithoutWorkers(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	d.startReady().terminate(syscall.SIGTERM) // makes the streams
	checkpoints := d.watch(ignore)
	var published []integration.Update
	for _, n := range []int{24, 8} {
		worker := d.start()
		published = append(published, l.updates(1_000)...)
		two := []integration.Update{l.update(l.users[0]), l.update(l.users[0])}
		d.publish(published[len(published)-1_000:])
		d.publish(two[:1])
		d.awaitCommitted()
		worker.kill()
		d.publish(two[1:])
		published = append(published, two...)
		d.command("topology", "repartition", strconv.Itoa(n), "--wait", "500ms").awaitExit(1)
		published = append(published, d.nudge(l)...)
		late := d.start()
		d.repartition(n)
		d.awaitCommitted()
		late.kill()
	}
	d.repartition(partitions)
	published = append(published, d.nudge(l)...)
	last := d.startReady()
	d.awaitCommitted()
	last.terminate(syscall.SIGTERM)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// repartition runs the command, which is to work out.
func (d *deployment) repartition(n int) {
	d.t.Helper()
	command := d.command("topology", "repartition", strconv.Itoa(n))
	command.awaitExit(0)
}

// killRepartition kills the command at a random moment of the way.
func (d *deployment) killRepartition(l *load, n int) {
	d.t.Helper()
	command := d.command("topology", "repartition", strconv.Itoa(n))
	command.awaitLog([]string{
		"storing updates in the new layout", "waiting until workers have committed", "moving the positions", "waiting until workers have claimed",
	}[l.numbers.IntN(4)])
	command.kill()
}
