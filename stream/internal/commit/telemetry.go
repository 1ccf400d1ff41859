package commit

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/internal/instrument"
	"github.com/presence-router/presence-router/stream/wire"
)

// telemetry holds the instruments of the package. Its methods may be called by
// several goroutines at once.
type telemetry struct {
	updates     metric.Int64Counter
	deliveries  metric.Int64Counter
	deadLetters metric.Int64Counter
	commits     metric.Float64Histogram
	messages    metric.Int64Histogram
	fences      metric.Int64Counter
	endToEnd    metric.Float64Histogram
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	m := instrument.Maker{Meter: meter}
	t := &telemetry{
		updates:     m.Counter("presence_router_updates", "Updates that are done, by partition and outcome."),
		deliveries:  m.Counter("presence_router_deliveries", "Deliveries committed."),
		deadLetters: m.Counter("presence_router_dead_letters", "Dead letters committed, by reason."),
		fences:      m.Counter("presence_router_fenced", "Partitions lost to another worker."),
		commits: m.Histogram("presence_router_commit_duration", "s", "Time from the first attempt of a commit to its outcome.",
			.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60),
		endToEnd: m.Histogram("presence_router_end_to_end", "s", "Time from the storing of an update to the commit of its deliveries.",
			.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600),
		messages: m.Sizes("presence_router_commit_messages", "Messages in one commit.", 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
	}
	return t, m.Err
}

// begin has the counters whose labels are known exist from the start: a rate is not
// seen of a counter that begins with 1.
func (t *telemetry) begin(ctx context.Context) {
	t.deliveries.Add(ctx, 0)
	for _, reason := range wire.Reasons() {
		t.deadLetters.Add(ctx, 0, metric.WithAttributes(attribute.String("reason", string(reason))))
	}
}

// open has the counters of a partition exist.
func (t *telemetry) open(ctx context.Context, partition int) {
	of := attribute.Int("partition", partition)
	t.fences.Add(ctx, 0, metric.WithAttributes(of))
	for _, outcome := range []string{outcomeRouted, outcomeDead, outcomeAlien} {
		t.updates.Add(ctx, 0, metric.WithAttributes(of, attribute.String("outcome", outcome)))
	}
}

// The outcomes of an update.
const (
	outcomeRouted = "routed"
	outcomeDead   = "dead_letter"
	outcomeAlien  = "not_local" // nobody may have it whom the routers chose: neither they nor its user are local
)

// outcomes is how many updates of a unit came to what.
type outcomes struct{ routed, dead, notLocal int64 }

func outcomesOf(u Unit) outcomes {
	updates := int64(len(u.Updates))
	dead := min(u.letters(), updates)
	refused := min(u.Refused, updates-dead)
	return outcomes{routed: updates - dead - refused, dead: dead, notLocal: refused}
}

// done counts a unit whose position is reached.
func (t *telemetry) done(ctx context.Context, u Unit) {
	now := time.Now()
	for _, stored := range u.Updates {
		t.endToEnd.Record(ctx, now.Sub(stored).Seconds())
	}
	for reason, letters := range u.Dead {
		t.deadLetters.Add(ctx, letters, metric.WithAttributes(attribute.String("reason", string(reason))))
	}
	if n := u.deliveries(); n > 0 {
		t.deliveries.Add(ctx, n)
	}
	came := outcomesOf(u)
	t.outcome(ctx, u.partition.id.Number, outcomeDead, came.dead)
	t.outcome(ctx, u.partition.id.Number, outcomeAlien, came.notLocal)
	t.outcome(ctx, u.partition.id.Number, outcomeRouted, came.routed)
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

func (t *telemetry) fenced(ctx context.Context, partition int) {
	t.fences.Add(ctx, 1, metric.WithAttributes(attribute.Int("partition", partition)))
}
