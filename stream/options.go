package stream

import (
	"log/slog"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Option sets something of a Worker that has a working default.
type Option func(*options)

type options struct {
	log    *slog.Logger
	meter  metric.Meter
	tracer trace.Tracer

	version    string
	configHash string

	answering []nats.Option
}

func newOptions(opts []Option) options {
	o := options{
		log:    slog.New(slog.DiscardHandler),
		meter:  metricnoop.NewMeterProvider().Meter(scope),
		tracer: tracenoop.NewTracerProvider().Tracer(scope),
	}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithLogger has the worker log to logger. The default logs nothing.
func WithLogger(logger *slog.Logger) Option {
	return func(o *options) { o.log = logger }
}

// WithIdentity has the worker tell the others which version of the program it is,
// and a hash of its configuration that is the same for workers that route alike.
func WithIdentity(version, configHash string) Option {
	return func(o *options) { o.version, o.configHash = version, configHash }
}

// WithQueryConnection changes the options of the connection that takes queries and
// sends answers, which are otherwise those of the worker's connection: credentials, for
// one, that permit nothing else.
func WithQueryConnection(changes ...nats.Option) Option {
	return func(o *options) { o.answering = changes }
}

// WithMeterProvider has the worker measure. The default measures nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *options) { o.meter = provider.Meter(scope) }
}

// WithTracerProvider has the worker trace updates that carry a trace context. The
// default hands their context on and traces nothing.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(o *options) { o.tracer = provider.Tracer(scope) }
}
