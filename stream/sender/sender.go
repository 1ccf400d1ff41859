package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// Sender reads deliveries and hands batches over.
type Sender struct {
	nc      *nats.Conn
	config  Config
	send    Send
	log     *slog.Logger
	outbox  *outbox
	acks    *acknowledger
	intakes []*intake
	observe func() (func() error, error)
	running atomic.Bool
}

// New returns a sender of the deliveries on nc, which hands batches over to send, at
// most one per origin and destination at once. The error joins the faults of config,
// each a *fault.Field.
func New(nc *nats.Conn, config Config, send Send, opts ...Option) (*Sender, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	subjects, err := wire.NewSubjects(config.Prefix)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.NewWithAPIPrefix(nc, config.APIPrefix)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	o := newOptions(opts)
	meters, err := newTelemetry(o.meter)
	if err != nil {
		return nil, err
	}
	s := &Sender{nc: nc, config: config, send: send, log: o.log, outbox: newOutbox(config, o.now, meters)}
	s.observe = func() (func() error, error) { return observe(o.meter, s.outbox) }
	s.acks = &acknowledger{nc: nc, outbox: s.outbox, stall: wait.NewStall(o.log, "acknowledging deliveries")}
	for _, p := range config.Share.parts(config.Name, subjects) {
		s.intakes = append(s.intakes, &intake{
			js: js, stream: subjects.DeliveriesStream(), part: p, config: config, outbox: s.outbox,
			meters: meters, log: o.log, stall: wait.NewStall(o.log, "reading "+p.filter), pin: &pin{ttl: config.AckWait},
		})
	}
	return s, nil
}

// Run reads and hands over until ctx ends. Then it takes no more, waits for the
// batches under way, for config.StopTimeout at most, acknowledges what was sent and
// gives the rest back to the server. Whatever breaks meanwhile is tried again; the
// error says what kept it from starting. It runs once.
func (s *Sender) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("run sender: it runs or has run")
	}
	unobserve, err := s.observe()
	if err != nil {
		return err
	}
	defer func() { _ = unobserve() }()
	s.outbox.meters.begin(ctx)
	finishing, finish := context.WithCancel(context.WithoutCancel(ctx))
	defer finish()
	var taking, keeping sync.WaitGroup
	for _, i := range s.intakes {
		taking.Go(func() { i.run(ctx) })
	}
	keeping.Go(func() { s.acks.run(finishing) })
	keeping.Go(func() { s.keep(finishing) })
	s.handOver(ctx)
	taking.Wait()
	finish()
	keeping.Wait()
	s.leave(ctx)
	s.acks.stall.Close()
	for _, i := range s.intakes {
		i.stall.Close()
	}
	return nil
}

// Ready returns nil while the sender reads and acknowledges, else an error that says
// what it waits for.
func (s *Sender) Ready() error {
	if !s.running.Load() {
		return errors.New("starting")
	}
	errs := []error{s.acks.stall.Waiting()}
	for _, i := range s.intakes {
		errs = append(errs, i.stall.Waiting())
	}
	if full, _ := s.outbox.full(); full {
		errs = append(errs, errors.New("holding as much as configured: waiting for destinations, the server holds the rest"))
	}
	return errors.Join(errs...)
}

// handOver sends what is due until ctx ends and all sends have returned.
func (s *Sender) handOver(ctx context.Context) {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var sends sync.WaitGroup
	slots := make(chan struct{}, s.config.Concurrency)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		l, batch, ok := s.outbox.next(ctx)
		if !ok {
			break
		}
		sends.Go(func() {
			defer func() { <-slots }()
			s.attempt(sending, l, batch)
		})
	}
	defer time.AfterFunc(s.config.StopTimeout, stop).Stop()
	sends.Wait()
}

// attempt hands a batch over. Of a destination the first success is logged, and of one
// that fails the first failure, and that it is over.
func (s *Sender) attempt(ctx context.Context, l *lane, batch Batch) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.outbox.begin(l, stop)
	err := s.send(ctx, batch)
	before := s.outbox.settle(ctx, l, err)
	log := s.log.With("origin", batch.Origin, "destination", batch.Destination)
	switch {
	case err != nil && ctx.Err() != nil:
		log.Debug("stopped before the destination answered", "batch", batch.ID, "states", batch.States, "error", err)
	case err != nil && before.failures == 0:
		log.Info("destination fails, trying again later", "pause", before.pause, "error", err)
	case err == nil && before.failures > 0:
		log.Info("destination works again", "failures", before.failures, "given_up", before.stale)
	case before.isFirst:
		log.Info("destination works", "states", batch.States)
	case err != nil:
		log.Debug("destination still fails", "batch", batch.ID, "states", batch.States, "failures", before.failures+1,
			"pause", before.pause, "error", err)
	}
}

// keep looks after what is held, until ctx ends.
func (s *Sender) keep(ctx context.Context) {
	tick := time.NewTicker(s.config.AckWait / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.acks.keep()
			s.tellGivenUp(s.outbox.sweep())
		case <-ctx.Done():
			return
		}
	}
}

// maxTold bounds how many destinations are logged at once.
const maxTold = 10

func (s *Sender) tellGivenUp(news []givenUp) {
	named := min(len(news), maxTold)
	for _, n := range news[:named] {
		s.log.Info("giving up states that are too old", "origin", n.route.origin, "destination", n.route.destination, "states", n.states)
	}
	states := 0
	for _, n := range news[named:] {
		states += n.states
	}
	if states > 0 {
		s.log.Info("giving up states that are too old, of more destinations", "destinations", len(news)-named, "states", states)
	}
}

// lastTimeout bounds what is told to the server at the end.
const lastTimeout = 5 * time.Second

func (s *Sender) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	s.acks.flush(ctx)
	if left := len(s.acks.pending); left > 0 {
		s.log.Warn("deliveries that were sent are not acknowledged and come again", "deliveries", left)
	}
	// In this order: a request of this sender that the server has not forgotten yet would
	// get what is given back.
	first := uint64(0)
	for _, i := range s.intakes {
		first = max(first, i.unpin(ctx))
	}
	if lost := s.outbox.before(first); lost > 0 {
		s.log.Warn("deliveries that were not sent are lost, the stream no longer has them", "deliveries", lost)
	}
	s.acks.giveBack()
	for _, i := range s.intakes {
		s.outbox.release(i.pin)
	}
}
