package membership

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/instrument"
)

// telemetry holds the instruments of the package.
type telemetry struct {
	workers metric.Int64Gauge
	mixed   metric.Int64Gauge
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	m := instrument.Maker{Meter: meter}
	t := &telemetry{
		workers: m.Gauge("presence_router_workers", "Workers that are live, as this one knows them, itself included."),
		mixed:   m.Gauge("presence_router_workers_configured_otherwise", "Workers whose configuration routes otherwise than this one's; more than 0 for long is a rollout that got stuck."),
	}
	return t, m.Err
}

func (t *telemetry) membership(ctx context.Context, workers, mixed int) {
	t.workers.Record(ctx, int64(workers))
	t.mixed.Record(ctx, int64(mixed))
}
