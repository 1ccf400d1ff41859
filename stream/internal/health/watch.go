package health

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// Config is what a Watch is made of.
type Config struct {
	JS       jetstream.JetStream
	Subjects wire.Subjects
	TTL      time.Duration // how long a worker that is not heard of keeps its partitions
	States   bool          // the deployment has a stream of newest states
	Topology bool          // the worker makes streams of copies again
	Remind   func()        // logs dead letters that a line is due about
	Log      *slog.Logger
	Meter    metric.Meter
}

func (c Config) diagnosis() []diagnosis.Option {
	if c.States {
		return nil
	}
	return []diagnosis.Option{diagnosis.WithoutStates()}
}

// Watch watches over the work of a worker. Its methods may be called by several
// goroutines at once, but for Begin.
type Watch struct {
	config    Config
	telemetry *telemetry
	progress  *progress
	counter   *counter
	streams   *differences         // once the streams are there
	care      atomic.Pointer[care] // once the streams are there
}

// New returns a Watch that does not run yet.
func New(c Config) (*Watch, error) {
	w := &Watch{config: c, progress: newProgress(stuckAfter * c.TTL)}
	var err error
	if w.telemetry, err = newTelemetry(c.Meter, w.progress.observe, w.observeProblems); err != nil {
		return nil, err
	}
	w.counter = &counter{js: c.JS, subjects: c.Subjects, log: c.Log, progress: w.progress, losses: newLosses(c.Log, w.telemetry)}
	return w, nil
}

// observeProblems tells which problems there are.
func (w *Watch) observeProblems(_ context.Context, o metric.Int64Observer) error {
	if !w.config.JS.Conn().IsConnected() {
		o.Observe(1, metric.WithAttributes(attribute.String("problem", string(diagnosis.NotConnected)), attribute.String("stream", "")))
		return nil
	}
	for _, p := range w.care.Load().problems() {
		if p.Kind != diagnosis.NotConnected {
			o.Observe(1, metric.WithAttributes(attribute.String("problem", string(p.Kind)), attribute.String("stream", p.Stream)))
		}
	}
	return nil
}

// Begin is called once, as soon as the streams are there and before Run. It compares them
// with their configuration.
func (w *Watch) Begin(ctx context.Context, streams *topology.Streams) error {
	w.streams = &differences{topology: streams, log: w.config.Log, telemetry: w.telemetry}
	w.streams.look(ctx)
	care, err := newCare(w.config, streams)
	if err != nil {
		return err
	}
	w.care.Store(care)
	return nil
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { w.counter.run(ctx) })
	all.Go(func() { w.streams.run(ctx) })
	all.Go(func() { w.care.Load().run(ctx) })
	all.Wait()
}

// Follow watches p and the reader of its updates, until leave is called.
func (w *Watch) Follow(ctx context.Context, p *commit.Partition, r *updates.Reader) (leave func()) {
	w.telemetry.lostUpdates(ctx, p.ID().Number, 0)
	return w.progress.follow(p, r)
}

// Problems returns nil, or what is wrong with the servers or the streams and keeps the
// worker from its work.
func (w *Watch) Problems() error { return w.care.Load().waiting() }

// Stuck returns nil while every partition that has something to do comes further, else an
// error about the one that has been stuck for longest.
func (w *Watch) Stuck() error { return w.progress.waiting(time.Now()) }

// Explain returns err with the problem before it that was found last and explains it,
// if err itself leaves open what is wrong.
func (w *Watch) Explain(err error) error { return w.care.Load().explain(err) }

// ExplainStart is Explain for a worker that starts: before Begin it looks for the
// problem.
func (w *Watch) ExplainStart(ctx context.Context, err error) error {
	if c := w.care.Load(); c != nil {
		return c.explain(err)
	}
	return diagnosis.Explain(ctx, w.config.JS.Conn(), w.config.Subjects.Prefix(), err, w.config.diagnosis()...)
}

// Report adds to a heartbeat where the streams are not as configured, and how many updates
// are lost.
func (w *Watch) Report(h *wire.Heartbeat) {
	h.StreamsDiffer = w.streams.found()
	h.LostUpdates, h.LastLost = w.counter.losses.sum()
}
