package stream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/wire"
)

const scope = "github.com/presence-router/presence-router/stream"

// telemetry holds the instruments of the package. Its methods may be called by
// several goroutines at once.
type telemetry struct {
	updates     metric.Int64Counter
	deliveries  metric.Int64Counter
	deadLetters metric.Int64Counter
	commits     metric.Float64Histogram
	messages    metric.Int64Histogram
	fences      metric.Int64Counter
	losses      metric.Int64Counter
	foreign     metric.Int64Counter
	endToEnd    metric.Float64Histogram
	owned       metric.Int64UpDownCounter
	workers     metric.Int64Gauge
	mixed       metric.Int64Gauge
	otherwise   metric.Int64Gauge
	queries     metric.Int64Counter
	misdirected metric.Int64Counter
	queryTimes  metric.Float64Histogram
	replayed    metric.Int64Counter

	updatesDone    [maxPartitions]atomic.Int64 // by partition
	deliveriesDone atomic.Int64
	refused        atomic.Uint64 // updates with the outcome not_local
	lastRefused    atomic.Int64  // when the last of them was done, Unix time in ns
}

func newTelemetry(meter metric.Meter, pending, problems metric.Int64Callback) (*telemetry, error) {
	m := maker{meter: meter}
	t := &telemetry{
		updates:     m.counter("presence_router_updates", "Updates that are done, by partition and outcome."),
		deliveries:  m.counter("presence_router_deliveries", "Deliveries committed."),
		deadLetters: m.counter("presence_router_dead_letters", "Dead letters committed, by reason."),
		losses:      m.counter("presence_router_lost_updates", "Updates that the updates stream dropped before they were routed, by partition."),
		fences:      m.counter("presence_router_fenced", "Partitions lost to another worker."),
		foreign:     m.counter("presence_router_foreign_checkpoints", "Messages found in place of a checkpoint that no worker wrote, by partition."),
		commits: m.histogram("presence_router_commit_duration", "s", "Time from the first attempt of a commit to its outcome.",
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60),
		endToEnd: m.histogram("presence_router_end_to_end", "s", "Time from the storing of an update to the commit of its deliveries.",
			.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600),
		messages:    m.sizes("presence_router_commit_messages", "Messages in one commit.", 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
		owned:       m.upDown("presence_router_owned_partitions", "Partitions that this worker serves."),
		workers:     m.gauge("presence_router_workers", "Workers that are live, as this one knows them, itself included."),
		mixed:       m.gauge("presence_router_workers_configured_otherwise", "Workers whose configuration routes otherwise than this one's; more than 0 for long is a rollout that got stuck."),
		otherwise:   m.gauge("presence_router_streams_configured_otherwise", "Settings of the streams that are otherwise than this worker is configured; it goes on with what there is."),
		queries:     m.counter("presence_router_queries", "Queries answered, by query and code: 200 or that of the error."),
		misdirected: m.counter("presence_router_queries_misdirected", "Queries that were not answered because their reply subject is below none of worker.queries.reply_prefixes, by query; discovery stands for $SRV."),
		queryTimes: m.histogram("presence_router_query_duration", "s", "Time from the arrival of a query to its answer, by query.",
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60),
		replayed: m.counter("presence_router_replayed_deliveries", "Deliveries that send_online_presence stored."),
	}
	m.observed("presence_router_partition_pending", "Updates of a partition of this worker that are not done, as the server counted them within the last seconds.", pending)
	m.observed("presence_router_problems", "1 for each thing that is wrong with the NATS servers or the streams, by problem and stream.", problems)
	return t, m.err
}

// begin has the counters whose labels are known exist from the start: a rate is not
// seen of a counter that begins with 1.
func (t *telemetry) begin(ctx context.Context) {
	t.deliveries.Add(ctx, 0)
	t.replayed.Add(ctx, 0)
	for _, reason := range wire.Reasons() {
		t.deadLetters.Add(ctx, 0, metric.WithAttributes(attribute.String("reason", string(reason))))
	}
	for _, name := range wire.Queries() {
		t.forQuery(name).begin(ctx)
	}
	for _, name := range append(wire.Queries(), discoveryQuery) {
		t.misdirected.Add(ctx, 0, metric.WithAttributes(attribute.String("query", name)))
	}
}

// maker makes instruments and keeps the first error.
type maker struct {
	meter metric.Meter
	err   error
}

func keep[T any](m *maker, instrument T, err error) T {
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("make an instrument: %w", err)
	}
	return instrument
}

func (m *maker) counter(name, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithDescription(description))
	return keep(m, c, err)
}

func (m *maker) upDown(name, description string) metric.Int64UpDownCounter {
	c, err := m.meter.Int64UpDownCounter(name, metric.WithDescription(description))
	return keep(m, c, err)
}

func (m *maker) gauge(name, description string) metric.Int64Gauge {
	g, err := m.meter.Int64Gauge(name, metric.WithDescription(description))
	return keep(m, g, err)
}

func (m *maker) observed(name, description string, observe metric.Int64Callback) {
	g, err := m.meter.Int64ObservableGauge(name, metric.WithDescription(description), metric.WithInt64Callback(observe))
	keep(m, g, err)
}

func (m *maker) histogram(name, unit, description string, bounds ...float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	return keep(m, h, err)
}

func (m *maker) sizes(name, description string, bounds ...float64) metric.Int64Histogram {
	h, err := m.meter.Int64Histogram(name, metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
	return keep(m, h, err)
}

// The outcomes of an update.
const (
	outcomeRouted = "routed"
	outcomeDead   = "dead_letter"
	outcomeAlien  = "not_local" // nobody may have it whom the routers chose: neither they nor its user are local
)

// done counts a unit whose position is reached.
func (t *telemetry) done(ctx context.Context, u unit) {
	now := time.Now()
	for _, stored := range u.updates {
		t.endToEnd.Record(ctx, now.Sub(stored).Seconds())
	}
	dead := int64(0)
	for reason, letters := range u.dead {
		dead += letters
		t.deadLetters.Add(ctx, letters, metric.WithAttributes(attribute.String("reason", string(reason))))
	}
	if n := int64(len(u.messages)) - dead; n > 0 {
		t.deliveries.Add(ctx, n)
		t.deliveriesDone.Add(n)
	}
	updates := int64(len(u.updates))
	t.updatesDone[u.partition.id.number].Add(updates)
	dead = min(dead, updates)
	refused := min(u.refused, updates-dead)
	if refused > 0 {
		t.refused.Add(uint64(refused))
		t.lastRefused.Store(now.UnixNano())
	}
	t.outcome(ctx, u.partition.id.number, outcomeDead, dead)
	t.outcome(ctx, u.partition.id.number, outcomeAlien, refused)
	t.outcome(ctx, u.partition.id.number, outcomeRouted, updates-dead-refused)
}

// notLocal returns how many updates had the outcome not_local, and when the last of
// them was done.
func (t *telemetry) notLocal() (updates uint64, last time.Time) {
	if updates = t.refused.Load(); updates > 0 {
		last = time.Unix(0, t.lastRefused.Load())
	}
	return updates, last
}

func (t *telemetry) outcome(ctx context.Context, partition int, outcome string, n int64) {
	if n > 0 {
		t.updates.Add(ctx, n, metric.WithAttributes(attribute.Int("partition", partition), attribute.String("outcome", outcome)))
	}
}

func (t *telemetry) committed(ctx context.Context, took time.Duration, messages int) {
	t.commits.Record(ctx, took.Seconds())
	t.messages.Record(ctx, int64(messages))
}

// claimed counts a partition that this worker serves until released is called. Its
// counters exist from then on.
func (t *telemetry) claimed(ctx context.Context, partition int) (released func()) {
	t.owned.Add(ctx, 1)
	of := attribute.Int("partition", partition)
	t.fences.Add(ctx, 0, metric.WithAttributes(of))
	t.foreign.Add(ctx, 0, metric.WithAttributes(of))
	t.losses.Add(ctx, 0, metric.WithAttributes(of))
	for _, outcome := range []string{outcomeRouted, outcomeDead, outcomeAlien} {
		t.updates.Add(ctx, 0, metric.WithAttributes(of, attribute.String("outcome", outcome)))
	}
	return func() { t.owned.Add(context.WithoutCancel(ctx), -1) }
}

func (t *telemetry) fenced(ctx context.Context, partition int) {
	t.fences.Add(ctx, 1, metric.WithAttributes(attribute.Int("partition", partition)))
}

func (t *telemetry) lostUpdates(ctx context.Context, partition int, updates uint64) {
	t.losses.Add(ctx, int64(updates), metric.WithAttributes(attribute.Int("partition", partition))) //nolint:gosec // A count of stored messages stays far below 2^63.
}

func (t *telemetry) foreignCheckpoint(ctx context.Context, partition int) {
	t.foreign.Add(ctx, 1, metric.WithAttributes(attribute.Int("partition", partition)))
}

// totals returns what is done so far.
func (t *telemetry) totals() totals {
	done := totals{deliveries: t.deliveriesDone.Load()}
	for p := range t.updatesDone {
		done.updates[p] = t.updatesDone[p].Load()
	}
	return done
}

func (t *telemetry) streamsOtherwise(ctx context.Context, settings int) {
	t.otherwise.Record(ctx, int64(settings))
}

func (t *telemetry) membership(ctx context.Context, workers, mixed int) {
	t.workers.Record(ctx, int64(workers))
	t.mixed.Record(ctx, int64(mixed))
}
