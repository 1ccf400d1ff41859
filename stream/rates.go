package stream

import (
	"math"
	"time"

	"github.com/presence-router/presence-router/stream/internal/commit"
)

// rates is how much a worker commits, per second between the last two
// measurements, of which the start is one.
type rates struct {
	updates    []float64 // by partition; nil before the first measurement
	deliveries float64

	last commit.Totals
	at   time.Time
}

func newRates() rates { return rates{at: time.Now()} }

// measure sets the rates anew.
func (r *rates) measure(total commit.Totals) {
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
