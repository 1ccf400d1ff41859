package health

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/instrument"
)

// telemetry holds the instruments of the package. Its methods may be called by
// several goroutines at once.
type telemetry struct {
	losses    metric.Int64Counter
	otherwise metric.Int64Gauge
}

func newTelemetry(meter metric.Meter, pending, problems metric.Int64Callback) (*telemetry, error) {
	m := instrument.Maker{Meter: meter}
	t := &telemetry{
		losses:    m.Counter("presence_router_lost_updates", "Updates that the updates stream dropped before they were routed, by partition."),
		otherwise: m.Gauge("presence_router_streams_configured_otherwise", "Settings of the streams that are otherwise than this worker is configured; it goes on with what there is."),
	}
	m.Observed("presence_router_partition_pending", "Updates of a partition of this worker that are not done, as the server counted them within the last seconds.", pending)
	m.Observed("presence_router_problems", "1 for each thing that is wrong with the NATS servers or the streams, by problem and stream.", problems)
	return t, m.Err
}

func (t *telemetry) lostUpdates(ctx context.Context, partition int, updates uint64) {
	t.losses.Add(ctx, int64(updates), metric.WithAttributes(attribute.Int("partition", partition))) //nolint:gosec // A count of stored messages stays far below 2^63.
}

func (t *telemetry) streamsOtherwise(ctx context.Context, settings int) {
	t.otherwise.Record(ctx, int64(settings))
}
