// Package instrument makes OpenTelemetry instruments.
package instrument

import (
	"fmt"

	"go.opentelemetry.io/otel/metric"
)

// Maker makes instruments and keeps the first error.
type Maker struct {
	Meter metric.Meter
	Err   error // the first one, nil for none
}

func keep[T any](m *Maker, instrument T, err error) T {
	if err != nil && m.Err == nil {
		m.Err = fmt.Errorf("make an instrument: %w", err)
	}
	return instrument
}

// Counter makes a counter.
func (m *Maker) Counter(name, description string) metric.Int64Counter {
	c, err := m.Meter.Int64Counter(name, metric.WithDescription(description))
	return keep(m, c, err)
}

// UpDown makes a counter that may go down.
func (m *Maker) UpDown(name, description string) metric.Int64UpDownCounter {
	c, err := m.Meter.Int64UpDownCounter(name, metric.WithDescription(description))
	return keep(m, c, err)
}

// Gauge makes a gauge.
func (m *Maker) Gauge(name, description string) metric.Int64Gauge {
	g, err := m.Meter.Int64Gauge(name, metric.WithDescription(description))
	return keep(m, g, err)
}

// Observed makes a gauge that observe is asked for.
func (m *Maker) Observed(name, description string, observe metric.Int64Callback) {
	g, err := m.Meter.Int64ObservableGauge(name, metric.WithDescription(description), metric.WithInt64Callback(observe))
	keep(m, g, err)
}

// Histogram makes a histogram with those bounds.
func (m *Maker) Histogram(name, unit, description string, bounds ...float64) metric.Float64Histogram {
	h, err := m.Meter.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	return keep(m, h, err)
}

// Sizes makes a histogram of counts with those bounds.
func (m *Maker) Sizes(name, description string, bounds ...float64) metric.Int64Histogram {
	h, err := m.Meter.Int64Histogram(name, metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
	return keep(m, h, err)
}
