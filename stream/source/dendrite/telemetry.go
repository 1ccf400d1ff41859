package dendrite

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scope = "github.com/presence-router/presence-router/stream/source/dendrite"

// outcome is what became of a message.
type outcome string

const (
	published outcome = "published"
	duplicate outcome = "duplicate" // stored before
	foreign   outcome = "foreign"   // of a user of another server
	invalid   outcome = "invalid"   // published, and a worker makes a dead letter of it
	refused   outcome = "refused"   // the router's server does not take it
	malformed outcome = "malformed" // it names no user
)

// telemetry holds the instruments of one source.
type telemetry struct {
	source          attribute.KeyValue
	messages, lost  metric.Int64Counter
	pending, active metric.Int64Gauge
	delays          metric.Float64Histogram
}

func newTelemetry(meter metric.Meter, source string) (*telemetry, error) {
	t := &telemetry{source: attribute.String("source", source)}
	var err error
	if t.messages, err = meter.Int64Counter("presence_router_source_messages",
		metric.WithDescription("Messages of the homeserver, by what became of them.")); err != nil {
		return nil, instrument(err)
	}
	if t.lost, err = meter.Int64Counter("presence_router_source_lost_messages",
		metric.WithDescription("Messages that the homeserver's stream dropped before they were read.")); err != nil {
		return nil, instrument(err)
	}
	if t.pending, err = meter.Int64Gauge("presence_router_source_pending",
		metric.WithDescription("Messages that the homeserver's stream held behind the newest that was read.")); err != nil {
		return nil, instrument(err)
	}
	if t.active, err = meter.Int64Gauge("presence_router_source_active",
		metric.WithDescription("1 in the process that reads, 0 in those that stand by.")); err != nil {
		return nil, instrument(err)
	}
	if t.delays, err = meter.Float64Histogram("presence_router_source_delay", metric.WithUnit("s"),
		metric.WithDescription("Time from the storing of a message by the homeserver to that of its update."),
		metric.WithExplicitBucketBoundaries(.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 300)); err != nil {
		return nil, instrument(err)
	}
	return t, nil
}

func instrument(err error) error { return fmt.Errorf("make an instrument: %w", err) }

// begin has everything that is measured exist from the start.
func (t *telemetry) begin(ctx context.Context) {
	for _, o := range []outcome{published, duplicate, foreign, invalid, refused, malformed} {
		t.count(ctx, o, 0)
	}
	t.lose(ctx, 0)
	t.isActive(ctx, false)
	t.isBehind(ctx, 0)
}

func (t *telemetry) count(ctx context.Context, o outcome, n int64) {
	t.messages.Add(ctx, n, metric.WithAttributes(t.source, attribute.String("outcome", string(o))))
}

func (t *telemetry) lose(ctx context.Context, n uint64) {
	t.lost.Add(ctx, int64(n), metric.WithAttributes(t.source)) //nolint:gosec // A stream has not that many messages.
}

func (t *telemetry) isActive(ctx context.Context, active bool) {
	one := int64(0)
	if active {
		one = 1
	}
	t.active.Record(ctx, one, metric.WithAttributes(t.source))
}

func (t *telemetry) isBehind(ctx context.Context, pending uint64) {
	t.pending.Record(ctx, int64(pending), metric.WithAttributes(t.source)) //nolint:gosec // As above.
}

func (t *telemetry) delayed(ctx context.Context, stored time.Time) {
	t.delays.Record(ctx, max(0, time.Since(stored).Seconds()), metric.WithAttributes(t.source))
}
