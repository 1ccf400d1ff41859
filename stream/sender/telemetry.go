package sender

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scope = "github.com/presence-router/presence-router/stream/sender"

// outcome is what became of a state, or of handing a batch over.
type outcome string

// The outcomes of a state.
const (
	sent       outcome = "sent"
	merged     outcome = "merged"     // another state or delivery stands for it
	stale      outcome = "stale"      // too old
	deferred   outcome = "deferred"   // left to the server, which delivers it again
	unsendable outcome = "unsendable" // of a user of another server, or too long
)

// The outcomes of a batch, beside sent.
const (
	unsent  outcome = "unsent"
	unknown outcome = "unknown"
)

// tally counts outcomes. It is used under the outbox's lock.
type tally map[outcome]int64

// counts is what the outbox holds at the moment, and what became of the rest.
type counts struct {
	states, deliveries, destinations, failing int64
	stateOutcomes, batchOutcomes              tally
}

func (o *outbox) counts() counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := counts{
		states: int64(o.states), deliveries: int64(len(o.held)),
		stateOutcomes: maps.Clone(o.became), batchOutcomes: maps.Clone(o.handed),
	}
	for _, l := range o.lanes {
		if l.hasWork() {
			c.destinations++
		}
		if l.failures > 0 {
			c.failing++
		}
	}
	return c
}

// telemetry holds the instruments that are not read from the outbox.
type telemetry struct {
	malformed metric.Int64Counter
	delays    metric.Float64Histogram
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	malformed, err := meter.Int64Counter("presence_router_sender_malformed_deliveries",
		metric.WithDescription("Messages that are no deliveries."))
	if err != nil {
		return nil, fmt.Errorf("make an instrument: %w", err)
	}
	delays, err := meter.Float64Histogram("presence_router_sender_delay", metric.WithUnit("s"),
		metric.WithDescription("Time from the commit of a delivery to its being sent."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600))
	if err != nil {
		return nil, fmt.Errorf("make an instrument: %w", err)
	}
	return &telemetry{malformed: malformed, delays: delays}, nil
}

// begin has the counter exist from the start.
func (t *telemetry) begin(ctx context.Context) { t.malformed.Add(ctx, 0) }

func (t *telemetry) delayed(ctx context.Context, d time.Duration) { t.delays.Record(ctx, d.Seconds()) }

func (t *telemetry) noDelivery(ctx context.Context) { t.malformed.Add(ctx, 1) }

// gauges are the instruments that are read from the outbox.
type gauges struct {
	states, deliveries, destinations metric.Int64ObservableGauge
	stateOutcomes, batchOutcomes     metric.Int64ObservableCounter
}

func newGauges(meter metric.Meter) (g gauges, err error) {
	gauge := func(name, description string) metric.Int64ObservableGauge {
		made, failed := meter.Int64ObservableGauge(name, metric.WithDescription(description))
		if failed != nil {
			err = fmt.Errorf("make an instrument: %w", failed)
		}
		return made
	}
	counter := func(name, description string) metric.Int64ObservableCounter {
		made, failed := meter.Int64ObservableCounter(name, metric.WithDescription(description))
		if failed != nil {
			err = fmt.Errorf("make an instrument: %w", failed)
		}
		return made
	}
	g = gauges{
		states:        gauge("presence_router_sender_held_states", "States that are to be sent."),
		deliveries:    gauge("presence_router_sender_held_deliveries", "Deliveries taken over and not acknowledged."),
		destinations:  gauge("presence_router_sender_destinations", "Destinations with states to be sent, and such that failed last."),
		stateOutcomes: counter("presence_router_sender_states", "States of deliveries, by what became of them."),
		batchOutcomes: counter("presence_router_sender_batches", "Batches handed over, by outcome."),
	}
	return g, err
}

// observe has what o holds measured until the returned function is called.
func observe(meter metric.Meter, o *outbox) (stop func() error, err error) {
	g, err := newGauges(meter)
	if err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		g.show(to, o.counts())
		return nil
	}, g.states, g.deliveries, g.destinations, g.stateOutcomes, g.batchOutcomes)
	if err != nil {
		return nil, fmt.Errorf("measure what is held: %w", err)
	}
	return registration.Unregister, nil
}

func (g gauges) show(to metric.Observer, c counts) {
	to.ObserveInt64(g.states, c.states)
	to.ObserveInt64(g.deliveries, c.deliveries)
	to.ObserveInt64(g.destinations, c.destinations, metric.WithAttributes(attribute.String("state", "waiting")))
	to.ObserveInt64(g.destinations, c.failing, metric.WithAttributes(attribute.String("state", "failing")))
	for _, what := range []outcome{sent, merged, stale, deferred, unsendable} { // also those that are 0
		to.ObserveInt64(g.stateOutcomes, c.stateOutcomes[what], metric.WithAttributes(attribute.String("outcome", string(what))))
	}
	for _, what := range []outcome{sent, unsent, unknown} {
		to.ObserveInt64(g.batchOutcomes, c.batchOutcomes[what], metric.WithAttributes(attribute.String("outcome", string(what))))
	}
}
