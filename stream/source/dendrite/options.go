package dendrite

import (
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Option sets something of a Source that has a working default.
type Option func(*options)

type options struct {
	log   *slog.Logger
	meter metric.Meter
}

func newOptions(opts []Option) options {
	o := options{log: slog.New(slog.DiscardHandler), meter: noop.NewMeterProvider().Meter(scope)}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithLogger has the source log to logger. The default logs nothing.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.log = logger }
}

// WithMeterProvider has the source measure. The default measures nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *options) { o.meter = provider.Meter(scope) }
}
