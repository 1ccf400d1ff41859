package integration_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
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
	queues  [publishers]chan *sentUpdate
	made    []*sentUpdate
	making  sync.WaitGroup
	sending sync.WaitGroup
	cancel  context.CancelFunc
}

// sentUpdate is an update, and when it was on its way to the server.
type sentUpdate struct {
	integration.Update

	began, acked time.Time
}

// startTraffic starts to publish what load makes, some of it malformed.
func (d *deployment) startTraffic(l *load, rate int) *traffic {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	t := &traffic{d: d, load: l, rate: rate, cancel: cancel}
	for i := range t.queues {
		t.queues[i] = make(chan *sentUpdate, trafficQueue)
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
		updates[i] = u.Update
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
	each := time.Second / time.Duration(t.rate)
	for paid := time.Now(); ctx.Err() == nil; {
		now := time.Now()
		updates, rest := due(now.Sub(paid), each)
		paid = now.Add(-rest)
		for range updates {
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

// due returns how many updates, one in each, are to be made after passed since the
// last ones, and what is then left of passed. What is older than trafficOwed is given up.
func due(passed, each time.Duration) (updates int, rest time.Duration) {
	owed := min(passed, trafficOwed)
	return int(owed / each), owed % each
}

func (t *traffic) next() *sentUpdate {
	u := sentUpdate{Update: t.load.update(t.load.next())}
	if u.Number%malformedOneIn == 0 {
		u.JSON, u.Recipients, u.Reason = fmt.Appendf(nil, malformedFormat, u.Number), nil, wire.Malformed
	}
	return &u
}

func (t *traffic) send(queue <-chan *sentUpdate) {
	failed := false
	for u := range queue {
		if failed {
			continue
		}
		u.began = time.Now()
		if err := t.d.publishOne(&u.Update); err != nil {
			t.d.t.Error(err)
			failed = true
		}
		u.acked = time.Now()
	}
}

func TestDueTraffic(t *testing.T) {
	t.Parallel()
	const each = 3 * time.Millisecond
	tests := []struct {
		passed  time.Duration
		updates int
		rest    time.Duration
	}{
		{0, 0, 0},
		{each - 1, 0, each - 1},
		{trafficTick, 6, trafficTick - 6*each},
		{3 * trafficTick, 20, 0}, // two ticks were missed
		{time.Hour, 33, trafficOwed - 33*each},
	}
	for _, tt := range tests {
		if updates, rest := due(tt.passed, each); updates != tt.updates || rest != tt.rest {
			t.Errorf("due(%v) = %d updates and %v, want %d and %v", tt.passed, updates, rest, tt.updates, tt.rest)
		}
	}
}
