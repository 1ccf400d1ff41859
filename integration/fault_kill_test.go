package integration_test

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

// TestFaultWorkerKilled kills the worker at random moments under load.
func TestFaultWorkerKilled(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	users, updates, kills := e.count(2_000, 10_000), e.count(8_000, 50_000), e.count(6, 20)
	l := newLoad(e.numbers(t), users, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(updates)
	window := e.window(5*time.Second, 30)
	publishing := d.publishing(published, window)
	for range kills {
		<-randomMoment(l.numbers, window, kills)
		worker.kill()
		worker = d.start()
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	t.Logf("killed %d workers over %v", kills, window)
	c.verify(t, integration.Check, published)
}

// TestFaultServerKilled kills the nats-server at random moments under load.
func TestFaultServerKilled(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	users, updates, kills := e.count(2_000, 10_000), e.count(6_000, 50_000), e.count(2, 5)
	l := newLoad(e.numbers(t), users, 3)
	d := deploy(t, l)
	worker := d.startReady()
	checkpoints := d.watch(ignore)

	published := l.updates(updates)
	window := e.window(6*time.Second, 30)
	publishing := d.publishing(published, window)
	for range kills {
		<-randomMoment(l.numbers, window, kills)
		if err := d.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(20 + 6*kills)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	t.Logf("killed the server %d times over %v", kills, window)
	c.verify(t, integration.Check, published)
}

// TestFaultKilledWithinWideUpdate kills the worker while an update of 5,000
// recipients, which takes several commits, is half done.
func TestFaultKilledWithinWideUpdate(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	const recipients = 5_000
	wides, kills := e.count(5, 20), e.count(3, 10)
	l := newLoad(e.numbers(t), 500, 3)
	wide := l.widen(recipients)
	d := deploy(t, l)
	worker := d.startReady()
	half := make(chan struct{}, 1)
	checkpoints := d.watch(func(c integration.Checkpoint) {
		if !c.After.IsZero() {
			select {
			case half <- struct{}{}:
			default:
			}
		}
	})

	var published []integration.Update
	for range wides {
		published = append(published, l.updates(200)...)
		published = append(published, l.update(wide))
		published = append(published, l.updates(200)...)
	}
	publishing := d.publishing(published, 0)
	killedHalf := 0
	for range kills {
		patience := 5 * time.Second
		if killedHalf == 0 { // One has to be.
			patience = readyTimeout
		}
		select {
		case <-half:
			killedHalf++
		case <-time.After(patience):
		}
		worker.kill()
		worker = d.startReady()
		drain(half)
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)

	c := d.collect(0)
	c.Checkpoints = checkpoints()
	t.Logf("%d updates with %d recipients, %d of %d kills within one", wides, recipients, killedHalf, kills)
	c.verify(t, integration.Check, published)
	if !slices.ContainsFunc(c.Checkpoints, func(c integration.Checkpoint) bool { return !c.After.IsZero() }) || killedHalf == 0 {
		t.Errorf("no kill came within an update")
	}
}

func ignore(integration.Checkpoint) {}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// randomMoment returns a channel that fires at a moment such that n of them take
// about the window.
func randomMoment(numbers *rand.Rand, window time.Duration, n int) <-chan time.Time {
	mean := window / time.Duration(n)
	return time.After(time.Duration(numbers.Int64N(int64(2 * mean))))
}
