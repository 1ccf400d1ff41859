package sender

import (
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Option sets something of a Sender that has a working default.
type Option func(*options)

type options struct {
	log   *slog.Logger
	meter metric.Meter
	now   func() time.Time
}

func newOptions(opts []Option) options {
	o := options{
		log:   slog.New(slog.DiscardHandler),
		meter: noop.NewMeterProvider().Meter(scope),
		now:   time.Now,
	}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithLogger has the sender log to logger. The default logs nothing.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.log = logger }
}

// WithMeterProvider has the sender measure. The default measures nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *options) { o.meter = provider.Meter(scope) }
}

// WithClock has now say what time it is where ages are computed, of states that are
// handed over and of those that may be too old. The default is time.Now.
func WithClock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}
