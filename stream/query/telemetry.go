package query

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/instrument"
	"github.com/presence-router/presence-router/stream/wire"
)

// codeAnswered is the code of a query that was answered without an error.
const codeAnswered = 200

// telemetry holds the instruments of the package. Its methods may be called by
// several goroutines at once.
type telemetry struct {
	queries     metric.Int64Counter
	misdirected metric.Int64Counter
	queryTimes  metric.Float64Histogram
	replayed    metric.Int64Counter
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	m := instrument.Maker{Meter: meter}
	t := &telemetry{
		queries:     m.Counter("presence_router_queries", "Queries answered, by query and code: 200 or that of the error."),
		misdirected: m.Counter("presence_router_queries_misdirected", "Queries that were not answered because their reply subject is below none of worker.queries.reply_prefixes, by query; discovery stands for $SRV."),
		queryTimes: m.Histogram("presence_router_query_duration", "s", "Time from the arrival of a query to its answer, by query.",
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60),
		replayed: m.Counter("presence_router_replayed_deliveries", "Deliveries that send_online_presence stored."),
	}
	return t, m.Err
}

// begin has the counters whose labels are known exist from the start: a rate is not
// seen of a counter that begins with 1.
func (t *telemetry) begin(ctx context.Context) {
	t.replayed.Add(ctx, 0)
	for _, name := range wire.Queries() {
		t.forQuery(name).begin(ctx)
	}
	for _, name := range append(wire.Queries(), discoveryQuery) {
		t.misdirected.Add(ctx, 0, metric.WithAttributes(attribute.String("query", name)))
	}
}

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
