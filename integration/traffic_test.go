package integration_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	trafficTick     = 20 * time.Millisecond
	trafficOwed     = 5 * trafficTick // what is caught up at most
	trafficQueue    = 64              // updates of one publisher that wait for the server
	malformedOneIn  = 50
	malformedFormat = `{"user_id": oh no, %d`
)

// traffic publishes updates at a steady rate until it is stopped; while the server
// takes none, it waits.
type traffic struct {
	d       *deployment
	load    *load
	rate    int // updates per second
	queues  [publishers]chan *integration.Update
	made    []*integration.Update
	making  sync.WaitGroup
	sending sync.WaitGroup
	cancel  context.CancelFunc
}

// startTraffic starts to publish what load makes, some of it malformed.
func (d *deployment) startTraffic(l *load, rate int) *traffic {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	t := &traffic{d: d, load: l, rate: rate, cancel: cancel}
	for i := range t.queues {
		t.queues[i] = make(chan *integration.Update, trafficQueue)
		t.sending.Go(func() { t.send(t.queues[i]) })
	}
	t.making.Go(func() { t.make(ctx) })
	d.t.Cleanup(cancel)
	return t
}

// stop returns every update that was published, once all are acknowledged.
func (t *traffic) stop() []integration.Update {
	t.d.t.Helper()
	t.cancel()
	t.making.Wait()
	t.sending.Wait()
	updates := make([]integration.Update, len(t.made))
	for i, u := range t.made {
		updates[i] = *u
	}
	return updates
}

func (t *traffic) make(ctx context.Context) {
	defer func() {
		for _, q := range t.queues {
			close(q)
		}
	}()
	tick := time.NewTicker(trafficTick)
	defer tick.Stop()
	for paid := time.Now(); ctx.Err() == nil; {
		each := time.Second / time.Duration(t.rate)
		owed := min(time.Since(paid), trafficOwed)
		paid = time.Now().Add(-owed % each)
		for range owed / each {
			u := t.next()
			select {
			case t.queues[publisherOf(u.User)] <- u:
				t.made = append(t.made, u)
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (t *traffic) next() *integration.Update {
	u := t.load.update(t.load.next())
	if u.Number%malformedOneIn == 0 {
		u.JSON, u.Recipients, u.Reason = fmt.Appendf(nil, malformedFormat, u.Number), nil, wire.Malformed
	}
	return &u
}

func (t *traffic) send(queue <-chan *integration.Update) {
	failed := false
	for u := range queue {
		if failed {
			continue
		}
		if err := t.d.publishOne(u); err != nil {
			t.d.t.Error(err)
			failed = true
		}
	}
}
