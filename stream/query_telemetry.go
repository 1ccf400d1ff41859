package stream

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/wire"
)

// codeAnswered is the code of a query that was answered without an error.
const codeAnswered = 200

// queryTelemetry measures one query. What most requests need is made once.
type queryTelemetry struct {
	*telemetry

	query    attribute.KeyValue
	named    metric.MeasurementOption
	answered metric.MeasurementOption
}

func (t *telemetry) forQuery(name string) queryTelemetry {
	query := attribute.String("query", name)
	return queryTelemetry{
		telemetry: t,
		query:     query,
		named:     metric.WithAttributeSet(attribute.NewSet(query)),
		answered:  metric.WithAttributeSet(attribute.NewSet(query, attribute.Int("code", codeAnswered))),
	}
}

// begin has the counters of all codes exist.
func (t queryTelemetry) begin(ctx context.Context) {
	t.queries.Add(ctx, 0, t.answered)
	for _, code := range []wire.Code{wire.CodeInvalid, wire.CodeNotLocal, wire.CodeTooLarge, wire.CodeRoutersFailed, wire.CodeUnavailable} {
		t.queries.Add(ctx, 0, metric.WithAttributes(t.query, attribute.Int("code", int(code))))
	}
}

// misdirectedQuery counts a request that may not be answered.
func (t *telemetry) misdirectedQuery(ctx context.Context, query string) {
	t.misdirected.Add(ctx, 1, metric.WithAttributes(attribute.String("query", query)))
}

// responded counts a request that was answered with code.
func (t queryTelemetry) responded(ctx context.Context, code int, took time.Duration) {
	attributes := t.answered
	if code != codeAnswered {
		attributes = metric.WithAttributes(t.query, attribute.Int("code", code))
	}
	t.queries.Add(ctx, 1, attributes)
	t.queryTimes.Record(ctx, took.Seconds(), t.named)
}
