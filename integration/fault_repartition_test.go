package integration_test

import (
	"fmt"
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

// repartition runs the command, which is to work out.
func (d *deployment) repartition(n int) {
	d.t.Helper()
	command := d.command("topology", "repartition", fmt.Sprint(n))
	command.awaitExit(0)
}

// killRepartition kills the command at a random moment of the way.
func (d *deployment) killRepartition(l *load, n int) {
	d.t.Helper()
	command := d.command("topology", "repartition", fmt.Sprint(n))
	command.awaitLog([]string{
		"storing updates in the new layout", "waiting until workers have committed", "moving the positions", "waiting until workers have claimed",
	}[l.numbers.IntN(4)])
	command.kill()
}
