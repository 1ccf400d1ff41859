package stream

import (
	"math"
	"time"
)

// rates is how much a worker commits, per second between the last two
// measurements, of which the start is one.
type rates struct {
	updates    []float64 // by partition; nil before the first measurement
	deliveries float64

	last totals
	at   time.Time
}

// totals is how much a worker has committed so far.
type totals struct {
	updates    [maxPartitions]int64 // by partition
	deliveries int64
}

func newRates() rates { return rates{at: time.Now()} }

// measure sets the rates anew.
func (r *rates) measure(t *telemetry) {
	now, total := time.Now(), t.totals()
	if seconds := now.Sub(r.at).Seconds(); seconds > 0 {
		r.deliveries = perSecond(total.deliveries-r.last.deliveries, seconds)
		r.updates = make([]float64, len(total.updates))
		for p := range total.updates {
			r.updates[p] = perSecond(total.updates[p]-r.last.updates[p], seconds)
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

// of returns how many updates of each partition are committed, nil where that is
// not known yet.
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
