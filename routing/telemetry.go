package routing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/presence-router/presence-router/routing"

// telemetry holds the instruments of one Dispatcher.
type telemetry struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
	errors   metric.Int64Counter
}

func newTelemetry(meters metric.MeterProvider, tracers trace.TracerProvider) (telemetry, error) {
	meter := meters.Meter(scope)
	duration, durationErr := meter.Float64Histogram("presence_router_router_duration_seconds",
		metric.WithUnit("s"),
		metric.WithDescription("Time that one call of a router took, until it answered or was abandoned."),
		metric.WithExplicitBucketBoundaries(.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10))
	failures, failuresErr := meter.Int64Counter("presence_router_router_errors_total",
		metric.WithDescription("Calls of a router that failed, by kind of failure."))
	if err := errors.Join(durationErr, failuresErr); err != nil {
		return telemetry{}, fmt.Errorf("make instruments: %w", err)
	}
	return telemetry{tracer: tracers.Tracer(scope), duration: duration, errors: failures}, nil
}

// forRouter returns the part of t that measures the router of that name.
func (t telemetry) forRouter(name string) routerTelemetry {
	router := attribute.String("router", name)
	r := routerTelemetry{
		telemetry: t,
		router:    router,
		measured:  metric.WithAttributeSet(attribute.NewSet(router)),
		traced:    trace.WithAttributes(router),
	}
	for _, kind := range []FailureKind{KindError, KindPanic, KindTimeout, KindInvalid, KindCancelled} {
		r.count(context.Background(), kind, 0) //nolint:forbidigo // A Dispatcher is made without a context, and counting needs none.
	}
	return r
}

// routerTelemetry measures the calls of one router.
type routerTelemetry struct {
	telemetry

	router   attribute.KeyValue
	measured metric.MeasurementOption
	traced   trace.SpanStartEventOption
}

// start begins the span and the measured time of one call.
func (t routerTelemetry) start(ctx context.Context, question string) (context.Context, measurement) {
	ctx, span := t.tracer.Start(ctx, question, t.traced)
	return ctx, measurement{router: t, span: span, begun: time.Now()}
}

// failed counts a failure, also one without a call.
func (t routerTelemetry) failed(ctx context.Context, kind FailureKind) {
	t.count(ctx, kind, 1)
}

// count counts failures; a counter exists once it is counted, also by 0.
func (t routerTelemetry) count(ctx context.Context, kind FailureKind, failures int64) {
	t.errors.Add(ctx, failures, metric.WithAttributes(t.router, attribute.String("kind", string(kind))))
}

// measurement is one call that is under way.
type measurement struct {
	router routerTelemetry
	span   trace.Span
	begun  time.Time
}

// end ends the span and records the time. err is nil where the router answered.
func (m measurement) end(ctx context.Context, err error) {
	m.router.duration.Record(ctx, time.Since(m.begun).Seconds(), m.router.measured)
	if err != nil {
		m.span.SetStatus(codes.Error, err.Error())
	}
	m.span.End()
}
