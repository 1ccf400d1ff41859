package stream

import "time"

// rates is how much a worker commits, per second between the last two
// measurements.
type rates struct {
	updates    float64
	deliveries float64

	last totals
	at   time.Time
}

// totals is how much a worker has committed so far.
type totals struct{ updates, deliveries int64 }

// measure sets the rates anew.
func (r *rates) measure(t *telemetry) {
	now, total := time.Now(), t.totals()
	if seconds := now.Sub(r.at).Seconds(); !r.at.IsZero() && seconds > 0 {
		r.updates = float64(total.updates-r.last.updates) / seconds
		r.deliveries = float64(total.deliveries-r.last.deliveries) / seconds
	}
	r.at, r.last = now, total
}
