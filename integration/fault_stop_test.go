package integration_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

// TestFaultStoppedUnderLoad stops the worker in good order under load, again and
// again: it ends with 0, and the next one goes on where it left off.
func TestFaultStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	stops := e.count(4, 20)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(e.count(6_000, 50_000))
	window := e.window(3*time.Second, 10)
	publishing := d.publishing(published, window)
	for n := range stops {
		<-randomMoment(l.numbers, window, stops)
		worker.terminate([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[n%2])
		worker.wantLines(0, "level=WARN")
		worker.wantLines(0, "level=ERROR")
		worker = d.start()
		if n%4 < 3 { // Else the next stop may come on its start.
			worker.awaitReady()
		}
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// TestFaultStoppedWithoutServer stops a worker whose server is away: it gives up
// what it could not commit when its time is over, and the next one routes it.
func TestFaultStoppedWithoutServer(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), 200, 3)
	d := deploy(t, l, settings{"WORKER_STOP_TIMEOUT": "1s"})
	worker := d.startReady()
	published := l.updates(2_000)
	publishing := d.publishing(published, time.Second)
	<-randomMoment(l.numbers, 400*time.Millisecond, 1)
	if err := d.server.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	worker.signal(syscall.SIGTERM)
	select {
	case <-worker.exited:
	case <-time.After(exitTimeout):
		worker.dump()
		t.Fatal("the worker has not ended")
	}
	t.Logf("ended with %d after %v", worker.cmd.ProcessState.ExitCode(), time.Since(began).Round(time.Millisecond))
	if err := d.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := d.startReady()
	<-publishing
	d.awaitCommitted()
	next.terminate(syscall.SIGTERM)
	d.collect(0).verify(t, integration.Check, published)
}
