package bench

import (
	"slices"
	"time"
)

// Figures are what one measurement gave, or the medians of several. What was not
// measured is 0.
type Figures struct {
	Messages   float64 `json:"messages_per_second,omitzero"` // of what the server does for anybody
	Rate       float64 `json:"rate_per_second,omitzero"`     // of updates, at which latency was measured
	Updates    float64 `json:"updates_per_second,omitzero"`
	Deliveries float64 `json:"deliveries_per_second,omitzero"`
	Pairs      float64 `json:"pairs_per_second,omitzero"` // of update and recipient
	OfR        float64 `json:"of_r,omitzero"`             // messages, deliveries, or pairs where recipients fan in

	WorkerCPU float64 `json:"worker_cpu_seconds_per_million,omitzero"` // messages or pairs
	ServerCPU float64 `json:"server_cpu_seconds_per_million,omitzero"`

	Resident float64 `json:"worker_resident_bytes,omitzero"` // of the largest worker, at the end
	Peak     float64 `json:"worker_peak_bytes,omitzero"`

	P50  float64 `json:"latency_p50_ms,omitzero"`
	P99  float64 `json:"latency_p99_ms,omitzero"`
	P999 float64 `json:"latency_p999_ms,omitzero"`
}

func (f *Figures) all() []*float64 {
	return []*float64{
		&f.Messages, &f.Rate, &f.Updates, &f.Deliveries, &f.Pairs, &f.OfR, &f.WorkerCPU, &f.ServerCPU,
		&f.Resident, &f.Peak, &f.P50, &f.P99, &f.P999,
	}
}

// median returns the median of each figure.
func median(rounds []Figures) Figures {
	var middle Figures
	for i, field := range middle.all() {
		values := make([]float64, len(rounds))
		for round := range rounds {
			values[round] = *rounds[round].all()[i]
		}
		*field = quantile(values, 0.5)
	}
	return middle
}

func mean(a, b Figures) Figures {
	for i, field := range a.all() {
		*field = (*field + *b.all()[i]) / 2
	}
	return a
}

// quantile returns the value below which a share of values lies, 0 of none. It
// sorts values.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	at := share * float64(len(values)-1)
	low := int(at)
	high := min(low+1, len(values)-1)
	return values[low] + (at-float64(low))*(values[high]-values[low])
}

// latencies returns the percentiles of latencies.
func latencies(of []time.Duration) Figures {
	values := make([]float64, len(of))
	for i, latency := range of {
		values[i] = float64(latency) / float64(time.Millisecond)
	}
	return Figures{P50: quantile(values, 0.5), P99: quantile(values, 0.99), P999: quantile(values, 0.999)}
}
