package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	careInterval   = 3 * time.Second // between two looks, or worker.ttl if that is shorter
	makeAgainAfter = 3               // times worker.ttl
)

// care looks again and again what is wrong with the servers and the streams, says so,
// and makes streams of copies again.
type care struct {
	diagnosis *diagnosis.Finder
	subjects  wire.Subjects
	topology  *topology.Streams // nil if this worker makes no streams
	every     time.Duration
	patience  time.Duration // with a stream that is missing
	log       *slog.Logger
	making    *wait.Stall
	remind    func() // logs dead letters that a line is due about

	known atomic.Pointer[[]diagnosis.Problem] // found last; nil before

	// Of the goroutine in run alone.
	outages map[string]*wait.Stall // by kind and stream
	missing map[string]time.Time   // since when streams are, by name
}

func newCare(c Config, streams *topology.Streams) (*care, error) {
	finder, err := diagnosis.New(c.JS.Conn(), c.Subjects.Prefix(), c.diagnosis()...)
	if err != nil {
		return nil, err
	}
	looks := &care{
		diagnosis: finder, subjects: c.Subjects,
		every: min(careInterval, c.TTL), patience: makeAgainAfter * c.TTL,
		log: c.Log, making: wait.NewStall(c.Log, "making a stream again"), remind: c.Remind,
		outages: make(map[string]*wait.Stall), missing: make(map[string]time.Time),
	}
	if c.Topology {
		looks.topology = streams
	}
	return looks, nil
}

// run looks until ctx ends. Nothing is known afterwards.
func (c *care) run(ctx context.Context) {
	due := time.NewTicker(c.every)
	defer due.Stop()
	defer c.end()
	for {
		select {
		case <-due.C:
			c.look(ctx)
			c.remind()
		case <-ctx.Done():
			return
		}
	}
}

func (c *care) end() {
	c.known.Store(nil)
	c.making.Close()
	for _, outage := range c.outages {
		outage.Close()
	}
}

func (c *care) look(ctx context.Context) {
	found := c.diagnosis.Look(ctx)
	if wait.Ended(ctx) {
		return
	}
	before := c.problems()
	c.known.Store(&found.Problems)
	c.tell(before, found.Problems)
	c.makeAgain(ctx, found)
}

// tell logs problems that are new, those that last, and those that are over. That there
// is no connection is logged as such.
func (c *care) tell(before, now []diagnosis.Problem) {
	lasts := func(p diagnosis.Problem) bool { return slices.ContainsFunc(before, alike(p)) }
	for _, p := range now {
		if p.Kind != diagnosis.NotConnected && (p.Stops || !lasts(p)) {
			c.outage(p).Failed(p)
		}
	}
	for _, p := range before {
		if p.Kind != diagnosis.NotConnected && !slices.ContainsFunc(now, alike(p)) {
			c.outage(p).Ended()
		}
	}
}

func alike(p diagnosis.Problem) func(diagnosis.Problem) bool {
	return func(other diagnosis.Problem) bool { return p.Kind == other.Kind && p.Stream == other.Stream }
}

func (c *care) outage(p diagnosis.Problem) *wait.Stall {
	key := string(p.Kind) + " " + p.Stream
	outage := c.outages[key]
	if outage == nil {
		log := c.log.With("problem", string(p.Kind))
		if p.Stream != "" {
			log = log.With("stream", p.Stream)
		}
		outage = wait.NewOutage(log, "something is wrong with NATS or the streams", "what was wrong with NATS or the streams is over")
		c.outages[key] = outage
	}
	return outage
}

// makeAgain makes streams again that hold copies alone and have been missing for a while:
// until they are there, what is to be copied grows old. The others are for a person to
// make, or to restore.
func (c *care) makeAgain(ctx context.Context, found diagnosis.Findings) {
	origins := map[string]string{
		c.subjects.DeadStream():  c.subjects.DeliveriesStream(),
		c.subjects.StateStream(): c.subjects.UpdatesStream(),
	}
	for name, origin := range origins {
		missing := slices.ContainsFunc(found.Problems, func(p diagnosis.Problem) bool { return p.Kind == diagnosis.StreamMissing && p.Stream == name })
		since, known := c.missing[name]
		switch {
		case !missing:
			delete(c.missing, name)
			c.making.Forget(name)
		case !known:
			c.missing[name] = time.Now()
		case c.topology != nil && found.Streams[origin] != nil && time.Since(since) >= c.patience:
			c.missing[name] = time.Now() // The next try comes as late.
			c.make(ctx, name)
		}
	}
}

func (c *care) make(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	if err := c.topology.MakeStream(ctx, name); err != nil {
		c.making.FailedFor(name, err)
		return
	}
	c.making.EndedFor(name)
	c.log.Info("made a stream again that was missing", "stream", name)
}

// problems returns what was found last.
func (c *care) problems() []diagnosis.Problem {
	if c == nil {
		return nil
	}
	if known := c.known.Load(); known != nil {
		return *known
	}
	return nil
}

// waiting returns nil, or what keeps the router from its work.
func (c *care) waiting() error {
	var errs []error
	for _, p := range c.problems() {
		if p.Stops && p.Kind != diagnosis.NotConnected {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// explain returns err with the problem before it that was found last and explains it,
// if err itself leaves open what is wrong.
func (c *care) explain(err error) error {
	if err == nil || !diagnosis.Ambiguous(err) && !errors.Is(err, jsapi.ErrNoStream) {
		return err
	}
	if p := diagnosis.About(c.problems(), err); p != nil {
		return fmt.Errorf("%w: %w", *p, err)
	}
	return err
}
