package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// errStopTimeout is why work ends that did not finish in time.
var errStopTimeout = errors.New("not done within worker.stop_timeout")

// instanceLength is enough of 32 letters that no two workers ever share an ID; it
// goes into every message of every commit.
const instanceLength = 12

// Worker routes presence updates: it claims partitions, reads their updates, runs
// the routers over them and commits the deliveries.
type Worker struct {
	nc         *nats.Conn
	js         jetstream.JetStream
	dispatcher *routing.Dispatcher
	config     Config
	options    options
	subjects   wire.Subjects
	instance   string // unique to this Worker: its commit IDs begin with it
	local      map[presence.ServerName]bool
	telemetry  *telemetry
	claimer    *claimer
	committer  *committer
	reading    *stall // of all partitions
	claims     atomic.Int64

	serving atomic.Int64 // partitions that are claimed and not lost
	ready   atomic.Bool  // every partition is claimed and the worker is not stopping
}

// NewWorker returns a worker on the connection nc, which Connect made, that asks
// the routers of dispatcher. The error joins a *fault.Field for each fault of
// config.
func NewWorker(nc *nats.Conn, dispatcher *routing.Dispatcher, config Config, opts ...Option) (*Worker, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	w := &Worker{
		nc: nc, js: js, dispatcher: dispatcher, config: config, options: newOptions(opts),
		instance: rand.Text()[:instanceLength], local: make(map[presence.ServerName]bool),
	}
	if w.config.Worker.ID == "" {
		w.config.Worker.ID = w.instance[:8]
	}
	for _, server := range config.ServerNames {
		w.local[server] = true
	}
	if w.subjects, err = wire.NewSubjects(config.Streams.Prefix); err != nil {
		return nil, err
	}
	if w.telemetry, err = newTelemetry(w.options.meter); err != nil {
		return nil, err
	}
	w.assemble()
	return w, nil
}

func (w *Worker) assemble() {
	log := w.options.log
	deliveries := leader{nc: w.nc, stream: w.subjects.DeliveriesStream()}
	points := checkpoints{deliveries: deliveries, subjects: w.subjects}
	w.reading = newStall(log, "reading updates")
	w.claimer = &claimer{
		js: w.js, subjects: w.subjects, checkpoints: points, worker: w.config.Worker.ID, start: w.config.Worker.Start,
		continuity: &continuity{
			js: w.js, updates: leader{nc: w.nc, stream: w.subjects.UpdatesStream()}, subjects: w.subjects, log: log,
		},
	}
	w.committer = &committer{
		nc: w.nc, checkpoints: points, subjects: w.subjects,
		instance: w.instance, config: w.config.Worker, groupBytes: groupBytes(w.config.Streams.Deliveries.MaxBytes),
		staged: make(chan unit, w.config.Streams.Partitions*slotsPerPartition),
		idle:   make(map[*partition]position), served: make(map[*partition]served),
		stall: newStall(log, "committing deliveries"), log: log, telemetry: w.telemetry,
	}
}

// ID returns the worker's ID, the configured one or the one made up.
func (w *Worker) ID() string { return w.config.Worker.ID }

// Ready returns nil while the worker serves its partitions, else an error that
// says what it waits for.
func (w *Worker) Ready() error {
	switch {
	case !w.ready.Load():
		return errors.New("partitions are not claimed")
	case !w.nc.IsConnected():
		return errors.New("not connected to NATS")
	case w.serving.Load() < int64(w.config.Streams.Partitions):
		return fmt.Errorf("%d of %d partitions were taken over by another worker",
			int64(w.config.Streams.Partitions)-w.serving.Load(), w.config.Streams.Partitions)
	}
	return errors.Join(w.reading.waiting(), w.committer.stall.waiting())
}

// Run claims every partition and routes its updates until ctx ends. Then it takes
// no more, commits what is routed and returns nil. It returns an error where it
// cannot begin, where work is left after worker.stop_timeout, and a *LostError
// once every partition was taken over by another worker. Run is called once.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.prepare(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	stopQueries, err := w.startQueries(ctx)
	if err != nil {
		return err
	}
	defer stopQueries()
	claims, err := w.claimAll(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	w.ready.Store(true)
	defer w.ready.Store(false)

	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	defer context.AfterFunc(ctx, func() { w.stopWithin(work, abandon) })()

	committed := make(chan error, 1)
	go func() { committed <- w.committer.run(work) }()
	lost := w.serveAll(ctx, work, claims)
	close(w.committer.staged)
	return errors.Join(<-committed, lost)
}

// stopWithin gives up the work that is left when the time to stop is over.
func (w *Worker) stopWithin(work context.Context, abandon context.CancelCauseFunc) {
	w.ready.Store(false)
	timer := time.NewTimer(w.config.Worker.StopTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
		abandon(errStopTimeout)
	case <-work.Done():
	}
}

// ignoreEnd returns nil where err only says that ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ended(ctx) {
		return nil
	}
	return err
}

func ended(ctx context.Context) bool { return ctx.Err() != nil }

// serveAll serves the claims until ctx ends or all are lost. Only where all are
// lost, it returns the errors that say to whom.
func (w *Worker) serveAll(ctx, work context.Context, claims []claim) error {
	errs := make([]error, len(claims))
	var all sync.WaitGroup
	for i, c := range claims {
		all.Go(func() { errs[i] = w.serve(ctx, work, c) })
	}
	all.Wait()
	if w.serving.Load() > 0 || ended(ctx) {
		return nil
	}
	return errors.Join(errs...)
}

// serve serves one partition until ctx ends or another worker takes it over. It
// claims the partition anew where the deliveries stream went back in time.
func (w *Worker) serve(ctx, work context.Context, c claim) error {
	for {
		reached, err := w.serveClaim(ctx, work, c)
		if !errors.Is(err, errRolledBack) {
			return err
		}
		w.options.log.Warn("claiming the partition anew", "partition", c.partition, "reason", err)
		if c, err = w.claim(ctx, c.partition, noLimit, reached); err != nil {
			return err
		}
	}
}

// serveClaim serves one claim until ctx ends, then returns nil, or the partition
// is lost, then returns the reason. It also returns up to where it has read.
func (w *Worker) serveClaim(ctx, work context.Context, c claim) (position, error) {
	w.serving.Add(1)
	w.telemetry.owned.Add(work, 1)
	take, stopTaking := context.WithCancelCause(ctx)
	work, stopWork := context.WithCancelCause(work)
	defer stopWork(nil)
	p := newPartition(c, w.config.Worker.Batch, func(reason error) {
		stopWork(reason)
		stopTaking(reason)
	})
	r := w.reader(c)
	var reading sync.WaitGroup
	reading.Go(func() { r.run(take) })
	err := w.follow(take, work, p, w.pipeline(c), r.updates)
	stopTaking(err)
	reading.Wait()
	if !p.lost.Load() {
		return r.position, err
	}
	w.serving.Add(-1)
	w.telemetry.owned.Add(context.WithoutCancel(work), -1)
	lost := context.Cause(take)
	if !errors.Is(lost, errRolledBack) {
		w.options.log.Warn("partition is lost", "partition", p.number, "reason", lost)
	}
	return r.position, lost
}

func (w *Worker) reader(c claim) *reader {
	return &reader{
		nc: w.nc, js: w.js, subjects: w.subjects, continuity: w.claimer.continuity, partition: c.partition,
		position: c.position, updates: make(chan update, w.config.Worker.Batch), stall: w.reading,
	}
}

// follow takes updates as they arrive and brings them to the committer, until
// take ends.
func (w *Worker) follow(take, work context.Context, p *partition, way *pipeline, arrived <-chan update) error {
	if err := p.stage(work, unit{upTo: way.half}, way.staged); err != nil { // makes the partition known to the committer
		return err
	}
	for {
		updates := p.take(take, arrived)
		if len(updates) == 0 {
			return nil
		}
		w.telemetry.took(work, p.number, updates[len(updates)-1].pending)
		if err := way.carry(work, p, updates); err != nil {
			return err
		}
	}
}
