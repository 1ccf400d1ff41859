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
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/health"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/membership"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/query"
	"github.com/presence-router/presence-router/stream/wire"
)

// errNoRoom is why work ends that finds no room in the deliveries stream.
var errNoRoom = errors.New("the deliveries stream is full")

// errStopTimeout is why work ends that did not finish in time.
var errStopTimeout = errors.New("not done within worker.stop_timeout")

// ErrReplaced is wrapped by the error of a worker that ended because another one
// was started under its ID.
var ErrReplaced = membership.ErrReplaced

// instanceLength is enough of 32 letters that no two workers ever share an ID; it
// goes into every message of every commit.
const instanceLength = 12

// Worker routes presence updates: it shares the partitions with the other workers,
// reads the updates of its own, runs the routers over them and commits the
// deliveries.
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
	queries    *query.Service
	layout     atomic.Pointer[wire.Layout] // that this worker serves, nil until it is known
	claimer    *claim.Claimer
	commits    *commit.Committer
	members    *membership.Members
	health     *health.Watch
	claiming   *wait.Stall // of all partitions, as are the others
	reading    *wait.Stall
	routing    *wait.Stall
	preparing  *wait.Stall
	claims     atomic.Int64
	claimers   chan struct{}  // one is taken for each claim under way
	readers    sync.WaitGroup // goroutines that read updates; serve does not wait for them
}

// NewWorker returns a worker on the connection nc, which Connect made, that asks
// the routers of dispatcher. While it runs it makes two more connections with the
// options of nc, for queries. The error joins a *fault.Field for each fault of
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
	if w.queries, err = query.New(w.queriesConfig()); err != nil { // first, as what is assembled is observed from then on
		return nil, err
	}
	if err = w.assemble(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Worker) assemble() (err error) {
	log := w.options.log
	points := checkpoint.NewStore(w.js, w.subjects).Noting(log, w.telemetry.foreignCheckpoint)
	w.claiming, w.reading, w.routing = wait.NewStall(log, "claiming partitions"), wait.NewStall(log, "reading updates"), wait.NewStall(log, "routing updates")
	w.preparing = wait.NewStall(log, "preparing the streams")
	w.claimers = make(chan struct{}, maxClaims)
	w.claimer = &claim.Claimer{
		JS: w.js, Subjects: w.subjects, Checkpoints: points, Worker: w.config.Worker.ID, Newest: w.config.Worker.Start == Newest,
		FastIngest: w.config.Streams.Deliveries.FastIngest, Pause: wait.Pause,
		Continuity: checkpoint.NewContinuity(w.js, w.subjects, log),
	}
	w.commits, err = commit.New(commit.Config{
		JS: w.js, Subjects: w.subjects, Checkpoints: points, Worker: w.config.Worker.ID, Instance: w.instance,
		CheckpointInterval: w.config.Worker.CheckpointInterval, CommitTimeout: w.config.Worker.CommitTimeout, Log: log, Meter: w.options.meter,
	})
	if err != nil {
		return err
	}
	w.health, err = health.New(health.Config{
		JS: w.js, Subjects: w.subjects, TTL: w.config.Worker.TTL, States: w.config.Streams.State.Enabled, Topology: w.config.Worker.Topology,
		Remind: w.commits.Remind, Log: log, Meter: w.options.meter,
	})
	if err != nil {
		return err
	}
	w.members, err = membership.New(w.membersConfig())
	return err
}

func (w *Worker) membersConfig() membership.Config {
	worker := w.config.Worker
	return membership.Config{
		JS: w.js, Subjects: w.subjects, Layouts: deployment.NewLayouts(w.js, w.subjects, checkpoint.NewStore(w.js, w.subjects).Has),
		Worker: worker.ID, Instance: w.instance, Version: w.options.version, ConfigHash: w.options.configHash,
		TTL: worker.TTL, StartTimeout: worker.StartTimeout, Configured: w.config.Streams.Partitions, Start: string(worker.Start),
		Log: w.options.log, Meter: w.options.meter,
		Serve:    w.serve,
		OnLayout: func(l wire.Layout) { w.layout.Store(&l) },
		Totals:   func() membership.Totals { return membership.Totals(w.commits.Totals()) },
		Report: func(h *wire.Heartbeat) {
			w.health.Report(h)
			h.NotLocal, h.LastNotLocal = w.commits.NotLocal()
		},
		Try: func(ctx context.Context, waiting *wait.Stall, try func(context.Context) error) error {
			return w.persist(ctx, worker.StartTimeout, waiting, 0, try)
		},
		GiveUp: func(err error, spent time.Duration) error {
			return w.giveUp(w.health.Explain(err), spent, worker.StartTimeout)
		},
	}
}

func (w *Worker) queriesConfig() query.ServiceConfig {
	streams := w.config.Streams
	return query.ServiceConfig{
		Bounds: w.config.Worker.Queries, Subjects: w.subjects, Inbox: w.nc.Opts.InboxPrefix,
		Dispatcher: w.dispatcher, IsLocal: w.isLocal, Coalesce: w.config.Worker.Coalesce, HasStates: streams.State.Enabled,
		Layout:    func() wire.Layout { return *w.layout.Load() },
		MaxUpdate: streams.Updates.MaxUpdateBytes, MaxDelivery: streams.Deliveries.MaxDeliveryBytes, Shards: streams.Deliveries.Shards,
		StopTimeout: w.config.Worker.StopTimeout, Connect: w.connectAgain, Changes: w.options.answering,
		Explain: func(err error) error { return w.health.Explain(err) },
		Log:     w.options.log, Meter: w.options.meter,
	}
}

func (w *Worker) isLocal(server presence.ServerName) bool { return w.local[server] }

// ID returns the worker's ID, the configured one or the one made up.
func (w *Worker) ID() string { return w.config.Worker.ID }

// Ready returns nil while the worker serves its share of the partitions and they
// go on, else an error that says what it waits for.
func (w *Worker) Ready() error {
	waiting := w.members.Waiting()
	if !w.nc.IsConnected() {
		return errors.Join(errors.New("not connected to NATS"), waiting)
	}
	problems := w.health.Problems()
	if waiting != nil {
		return errors.Join(problems, w.preparing.Waiting(), waiting, w.claiming.Waiting())
	}
	return errors.Join(problems, w.claiming.Waiting(), w.reading.Waiting(), w.routing.Waiting(), w.members.Moving(), w.commits.Waiting(), w.health.Stuck())
}

// Run shares the partitions with the other workers and routes the updates of its
// own until ctx ends. Then it takes no more, commits what is routed, gives its
// partitions up and returns nil. It returns an error where it cannot begin, where
// work is left after worker.stop_timeout, and one that wraps ErrReplaced once
// another worker was started under its ID. Run is called once.
func (w *Worker) Run(ctx context.Context) error {
	w.queries.Begin(ctx)
	w.commits.Begin(ctx)
	defer w.closeStalls()
	defer w.commits.Close()
	if err := w.prepare(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	leave, err := w.members.Join(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer leave()
	ctx, end := context.WithCancel(ctx)
	defer end()
	stopQueries, err := w.queries.Start(ctx)
	if err != nil {
		return err
	}
	defer stopQueries()
	ignore, err := w.commits.Listen()
	if err != nil {
		return err
	}
	defer ignore()

	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	defer context.AfterFunc(ctx, func() { w.stopWithin(work, abandon) })()

	var committing sync.WaitGroup
	committing.Go(func() { w.commits.Run(work) })
	watch, endWatch := context.WithCancel(work)
	var watching sync.WaitGroup
	watching.Go(func() { w.health.Run(watch) })
	failure := w.members.Run(ctx, work, end)
	endWatch()
	watching.Wait()
	w.commits.End()
	w.readers.Wait()
	committing.Wait()
	switch cause := context.Cause(work); {
	case errors.Is(cause, errNoRoom):
		w.options.log.Warn("stopped with updates that are routed and not stored; whoever takes the partitions routes them again", "reason", cause)
	case cause != nil:
		failure = errors.Join(fmt.Errorf("commit what is routed: %w", cause), failure)
	}
	return failure
}

func (w *Worker) closeStalls() {
	for _, s := range []*wait.Stall{w.claiming, w.reading, w.routing} {
		s.Close()
	}
}

// stopLook is how often a worker that stops looks whether there is room for what it
// has routed.
const stopLook = 50 * time.Millisecond

// stopWithin gives up the work that is left when the time to stop is over, or there is no
// room for it: nothing of it is stored, so that nothing is lost.
func (w *Worker) stopWithin(work context.Context, abandon context.CancelCauseFunc) {
	timer, looks := time.NewTimer(w.config.Worker.StopTimeout), time.NewTicker(stopLook)
	defer timer.Stop()
	defer looks.Stop()
	for {
		waiting := w.commits.Waiting()
		if waiting != nil && jsapi.Classify(waiting) == jsapi.Full {
			abandon(fmt.Errorf("%w: %w", errNoRoom, waiting))
			return
		}
		select {
		case <-looks.C:
		case <-timer.C:
			if waiting != nil {
				abandon(fmt.Errorf("%w: %w", errStopTimeout, waiting))
			}
			abandon(errStopTimeout)
			return
		case <-work.Done():
			return
		}
	}
}

// ignoreEnd returns nil where err only says that ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if wait.Ended(ctx) {
		return nil
	}
	return err
}
