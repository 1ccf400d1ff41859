package stream

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/instrument"
)

const scope = "github.com/presence-router/presence-router/stream"

// telemetry holds the instruments of the package. Its methods may be called by
// several goroutines at once.
type telemetry struct {
	foreign metric.Int64Counter
	owned   metric.Int64UpDownCounter
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	m := instrument.Maker{Meter: meter}
	t := &telemetry{
		foreign: m.Counter("presence_router_foreign_checkpoints", "Messages found in place of a checkpoint that no worker wrote, by partition."),
		owned:   m.UpDown("presence_router_owned_partitions", "Partitions that this worker serves."),
	}
	return t, m.Err
}

// claimed counts a partition that this worker serves until released is called. Its
// counters exist from then on.
func (t *telemetry) claimed(ctx context.Context, partition int) (released func()) {
	t.owned.Add(ctx, 1)
	of := attribute.Int("partition", partition)
	t.foreign.Add(ctx, 0, metric.WithAttributes(of))
	return func() { t.owned.Add(context.WithoutCancel(ctx), -1) }
}

func (t *telemetry) foreignCheckpoint(ctx context.Context, partition int) {
	t.foreign.Add(ctx, 1, metric.WithAttributes(attribute.Int("partition", partition)))
}
