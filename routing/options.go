package routing

import (
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/presence-router/presence-router/routing/presence"
)

// Option sets something of a Dispatcher that has a working default.
type Option func(*options)

type options struct {
	logger  *slog.Logger
	meters  metric.MeterProvider
	tracers trace.TracerProvider
	isLocal func(presence.ServerName) bool // nil where nothing is filtered
}

func defaultOptions() options {
	return options{
		logger:  slog.New(slog.DiscardHandler),
		meters:  metricnoop.NewMeterProvider(),
		tracers: tracenoop.NewTracerProvider(),
	}
}

// WithLogger has failures of routers logged, at most one line per router and
// second. The default logs nothing.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.logger = logger }
}

// WithMeterProvider has calls and failures of routers measured. The default
// measures nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *options) { o.meters = provider }
}

// WithTracerProvider has a span made of each call of a router. The default traces
// nothing.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(o *options) { o.tracers = provider }
}

// WithLocalServers has states of users of other servers delivered to local
// recipients only: a homeserver speaks for its own users alone. isLocal tells
// which servers are local; several goroutines call it at once. Without this
// option nothing is filtered.
func WithLocalServers(isLocal func(presence.ServerName) bool) Option {
	return func(o *options) { o.isLocal = isLocal }
}
