package membership

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// beatsPerTTL is how many heartbeats a worker publishes in the time that one keeps
// it alive.
const beatsPerTTL = 3

// announcer publishes the heartbeats of this worker, one at a time. Those that it
// does not get to are replaced by newer ones.
type announcer struct {
	js       jetstream.JetStream
	subjects wire.Subjects
	ttl      time.Duration
	stall    *wait.Stall

	newest chan wire.Heartbeat // the one to publish next; one place
	stored chan time.Time      // when the newest that the server stored was sent; one place
}

func newAnnouncer(js jetstream.JetStream, subjects wire.Subjects, ttl time.Duration, stall *wait.Stall) *announcer {
	return &announcer{
		js: js, subjects: subjects, ttl: ttl, stall: stall,
		newest: make(chan wire.Heartbeat, 1), stored: make(chan time.Time, 1),
	}
}

// say has h published next. It is called by one goroutine.
func (a *announcer) say(h wire.Heartbeat) { replace(a.newest, h) }

// end has run return once the newest heartbeat is published.
func (a *announcer) end() { close(a.newest) }

// run publishes until end is called. Once ctx has ended, it publishes no more.
func (a *announcer) run(ctx context.Context) {
	defer a.stall.Close()
	for h := range a.newest {
		sent := time.Now()
		if err := a.publish(ctx, h); err != nil {
			a.stall.Failed(err)
			continue
		}
		a.stall.Ended()
		replace(a.stored, sent)
	}
}

// publish stores h for as long as it counts. Workers hear it as it is published;
// the bucket keeps it for those that start later.
func (a *announcer) publish(ctx context.Context, h wire.Heartbeat) error {
	data, err := h.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.ttl/beatsPerTTL)
	defer cancel()
	_, err = a.js.PublishMsg(ctx, &nats.Msg{Subject: a.subjects.Heartbeat(h.Worker), Data: data},
		jetstream.WithMsgTTL(a.ttl), jetstream.WithExpectStream(a.subjects.WorkersStream()), jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("publish heartbeat: %w", err)
	}
	return nil
}

// replace puts v into a channel of one place that one goroutine fills, in place of
// what nobody has taken yet.
func replace[T any](place chan T, v T) {
	select {
	case <-place:
	default:
	}
	place <- v
}

// Totals is how much a worker has committed so far.
type Totals struct {
	Updates    [deployment.MaxPartitions]int64 // by partition
	Deliveries int64
}

// rates is how much a worker commits, per second between the last two
// measurements, of which the start is one.
type rates struct {
	updates    []float64 // by partition; nil before the first measurement
	deliveries float64

	last Totals
	at   time.Time
}

func newRates(now time.Time) rates { return rates{at: now} }

// measure sets the rates, from what is committed by now.
func (r *rates) measure(total Totals) {
	now := time.Now()
	if seconds := now.Sub(r.at).Seconds(); seconds > 0 {
		r.deliveries = perSecond(total.Deliveries-r.last.Deliveries, seconds)
		r.updates = make([]float64, len(total.Updates))
		for p := range total.Updates {
			r.updates[p] = perSecond(total.Updates[p]-r.last.Updates[p], seconds)
		}
	}
	r.at, r.last = now, total
}

// perSecond keeps one digit behind the point: heartbeats are to be short.
func perSecond(n int64, seconds float64) float64 { return math.Round(10*float64(n)/seconds) / 10 }

// all returns how many updates of all partitions are committed.
func (r *rates) all() float64 {
	sum := 0.0
	for _, rate := range r.updates {
		sum += rate
	}
	return math.Round(10*sum) / 10
}

// of returns how many updates of each partition are committed, nil if that is not
// known yet.
func (r *rates) of(partitions []int) []float64 {
	if r.updates == nil {
		return nil
	}
	rates := make([]float64, len(partitions))
	for i, p := range partitions {
		rates[i] = r.updates[p]
	}
	return rates
}
