package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

// Identity is what telemetry says about the process.
type Identity struct {
	Version string
	Worker  string // the worker's ID
}

// Telemetry measures and traces, for /metrics and, where that is configured, for
// an OTLP endpoint.
type Telemetry struct {
	Meters  *sdkmetric.MeterProvider
	Tracers trace.TracerProvider // that makes no spans where none are sent
	Version string               // of the program
	Metrics http.Handler         // in the format of Prometheus

	exporting *sdktrace.TracerProvider
}

// StartTelemetry starts telemetry. Metrics and traces are sent over HTTP to the
// configured endpoint, else to the one that the variables of OpenTelemetry in
// environ name, else nowhere. What cannot be sent is logged to log now and then.
func StartTelemetry(ctx context.Context, c config.Telemetry, id Identity, environ []string, log *slog.Logger) (*Telemetry, error) {
	otel.SetErrorHandler(&exportErrors{log: log})
	otel.SetTextMapPropagator(propagation.TraceContext{})
	from, err := describe(ctx, id)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scraped, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("make Prometheus exporter: %w", err)
	}
	meters := []sdkmetric.Option{sdkmetric.WithResource(from), sdkmetric.WithReader(scraped)}
	tracers := []sdktrace.TracerProviderOption{sdktrace.WithResource(from)}
	if !has(environ, "OTEL_TRACES_SAMPLER") {
		// Traces begin with publishers: what no update's trace asks for is not traced.
		tracers = append(tracers, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	}
	sent, err := exporters(ctx, c, environ)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{
		Meters:    sdkmetric.NewMeterProvider(append(meters, sent.meters...)...),
		Tracers:   noop.NewTracerProvider(),
		Metrics:   promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Version:   id.Version,
		exporting: sdktrace.NewTracerProvider(append(tracers, sent.tracers...)...),
	}
	if len(sent.tracers) > 0 {
		t.Tracers = t.exporting
	}
	return t, nil
}

// Shutdown sends what is not sent yet, while ctx lasts.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if err := errors.Join(t.exporting.Shutdown(ctx), t.Meters.Shutdown(ctx)); err != nil {
		return fmt.Errorf("send the last telemetry: %w", err)
	}
	return nil
}

// describe lets the variables of OpenTelemetry have the last word.
func describe(ctx context.Context, id Identity) (*resource.Resource, error) {
	described, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			attribute.String("service.name", "presence-router"),
			attribute.String("service.version", id.Version),
			attribute.String("service.instance.id", id.Worker),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("describe the process to telemetry: %w", err)
	}
	return described, nil
}

type sending struct {
	meters  []sdkmetric.Option
	tracers []sdktrace.TracerProviderOption
}

// exporters returns what sends to OTLP endpoints. Without options the exporters
// read the variables of OpenTelemetry themselves.
func exporters(ctx context.Context, c config.Telemetry, environ []string) (sending, error) {
	var s sending
	var metricOptions []otlpmetrichttp.Option
	var traceOptions []otlptracehttp.Option
	configured := c.OTLPEndpoint != ""
	if configured {
		base := strings.TrimSuffix(c.OTLPEndpoint.Reveal(), "/")
		metricOptions = append(metricOptions, otlpmetrichttp.WithEndpointURL(base+"/v1/metrics"))
		traceOptions = append(traceOptions, otlptracehttp.WithEndpointURL(base+"/v1/traces"))
	}
	if configured || has(environ, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
		exporter, err := otlpmetrichttp.New(ctx, metricOptions...)
		if err != nil {
			return s, fmt.Errorf("make OTLP exporter of metrics: %w", err)
		}
		s.meters = append(s.meters, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	if configured || has(environ, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
		exporter, err := otlptracehttp.New(ctx, traceOptions...)
		if err != nil {
			return s, fmt.Errorf("make OTLP exporter of traces: %w", err)
		}
		s.tracers = append(s.tracers, sdktrace.WithBatcher(exporter))
	}
	return s, nil
}

// has reports whether one of the variables has a value.
func has(environ []string, names ...string) bool {
	return slices.ContainsFunc(environ, func(variable string) bool {
		name, value, _ := strings.Cut(variable, "=")
		return value != "" && slices.Contains(names, name)
	})
}

// exportErrors logs what the SDK of OpenTelemetry reports, at most one line in
// exportReminder.
type exportErrors struct {
	log *slog.Logger

	mu     sync.Mutex
	logged time.Time
}

const exportReminder = time.Minute

// Handle implements otel.ErrorHandler.
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.logged) < exportReminder {
		return
	}
	e.logged = time.Now()
	e.log.Warn("telemetry reports an error", "error", err)
}
