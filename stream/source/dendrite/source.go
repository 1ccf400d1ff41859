package dendrite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// Source follows the presence of one Dendrite. Of several with the same Config one is
// active and the others stand by.
type Source struct {
	config  Config
	isLocal map[presence.ServerName]bool
	from    *nats.Conn
	js      jetstream.JetStream // on from
	to      *router
	log     *slog.Logger
	meters  *telemetry
	reading *wait.Stall
	running atomic.Bool
	follows atomic.Bool // it has had a consumer: nothing is dropped any more

	// Below is what the goroutine in Run works with.
	reconnected chan nats.Status // has an element after from was connected again
	made        time.Time        // when the consumer was made
	key         idKey
	active      bool
	waits       time.Time // since when a message that could not be done is to come again
	next        uint64    // the consumer's number of the next message, unless another process gets it; 0 for unknown
	handled     uint64    // sequence up to which everything is done; 0 for unknown
	last        place     // of the message that was done last
	latest      latest
	known       *statuses
	warned      map[outcome]time.Time
}

// latest is the update that was published last.
type latest struct {
	user presence.UserID
	id   string // its message ID
}

// New returns a source that follows a Dendrite on the NATS of from and publishes on that
// of to, which may be the same. The error joins the faults of config, each a
// *fault.Field.
func New(from, to *nats.Conn, config Config, opts ...Option) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	o := newOptions(opts)
	js, err := jetstream.NewWithAPIPrefix(from, config.APIPrefix)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	meters, err := newTelemetry(o.meter, config.ServerNames[0].String())
	if err != nil {
		return nil, err
	}
	s := &Source{
		config: config, isLocal: make(map[presence.ServerName]bool), from: from, js: js, log: o.log, meters: meters,
		reading: newStall(o.log, "reading "+config.stream()), known: newStatuses(), warned: make(map[outcome]time.Time),
	}
	for _, name := range config.ServerNames {
		s.isLocal[name] = true
	}
	if s.to, err = newRouter(to, config, newStall(o.log, "publishing what "+config.stream()+" holds")); err != nil {
		return nil, err
	}
	return s, nil
}

func newStall(log *slog.Logger, what string) *wait.Stall {
	return wait.NewStallThat(log, what, "waiting, Dendrite's stream keeps messages for 5 minutes")
}

// missingPause is how long to wait for Dendrite to make its stream. It drops what it
// publishes until somebody reads.
const missingPause = 100 * time.Millisecond

// Run follows until ctx ends, then finishes the message in hand and lets another process
// go on. Whatever breaks meanwhile is tried again. It runs once.
func (s *Source) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("run source: it runs or has run")
	}
	s.meters.begin(ctx)
	s.reconnected = s.from.StatusChanged(nats.CONNECTED)
	defer s.from.RemoveStatusListener(s.reconnected)
	retry := wait.NewBackOff()
	for ctx.Err() == nil {
		err := s.follow(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			retry.Reset()
		case errors.Is(err, jetstream.ErrStreamNotFound):
			s.reading.Failed(err)
			wait.Pause(ctx, missingPause)
		default:
			s.reading.Failed(err)
			wait.Pause(ctx, retry.NextBackOff())
		}
	}
	s.leave(ctx) // It has left, unless it was not reading.
	s.reading.Close()
	s.to.stall.Close()
	return nil
}

// Ready returns nil while the source reads and publishes, or stands by, else an error
// that says what it waits for.
func (s *Source) Ready() error {
	if !s.follows.Load() {
		return errors.Join(errors.New("starting"), s.reading.Waiting())
	}
	return errors.Join(s.reading.Waiting(), s.to.stall.Waiting())
}

// follow makes sure that there is a consumer, and reads until there is none, or an error
// comes. It returns nil if from was connected again: there may be none then.
func (s *Source) follow(ctx context.Context) error {
	consumer, err := s.consumer(ctx)
	if err != nil {
		return err
	}
	s.reading.Ended()
	s.follows.Store(true)
	for ctx.Err() == nil {
		reconnected, err := s.read(ctx, consumer)
		if err != nil || reconnected {
			return err
		}
	}
	return nil
}

const (
	fetchWait  = 5 * time.Second
	fetchBatch = 256
	group      = "source"
)

// read does what comes within a moment. It reports whether from was connected again.
func (s *Source) read(ctx context.Context, consumer jetstream.Consumer) (reconnected bool, err error) {
	// Of a pin's time that leaves enough for a message. The end of ctx alone does not cut
	// off a message that is on its way: nobody would get it before AckWait.
	fetching, stop := context.WithTimeout(context.WithoutCancel(ctx), min(fetchWait, s.config.AckWait/4))
	defer stop()
	interrupted := make(chan bool, 1)
	go func() {
		select {
		case <-s.reconnected:
			stop()
			interrupted <- true
		case <-fetching.Done():
			interrupted <- false
		}
	}()
	err = s.fetch(ctx, fetching, stop, consumer)
	stop()
	return <-interrupted, err
}

// fetch asks for messages until fetching ends, and does them one by one. The server
// delivers the next one when the last one is acknowledged.
func (s *Source) fetch(ctx, fetching context.Context, stop func(), consumer jetstream.Consumer) error {
	until := time.Now().Add(3 * s.config.AckWait / 4) // Another process may get them from AckWait on.
	messages, err := consumer.Fetch(fetchBatch, jetstream.FetchContext(fetching), jetstream.FetchPriorityGroup(group))
	if err != nil {
		return fmt.Errorf("read %s: %w", s.config.stream(), err)
	}
	ended := ctx.Done()
	for isOpen := true; isOpen; {
		var m jetstream.Msg
		select {
		case <-ended:
			ended = nil
			s.leave(ctx)
			defer time.AfterFunc(lastPause, stop).Stop()
		case m, isOpen = <-messages.Messages():
			if isOpen && !s.done(ctx, m, until) {
				return nil // The message comes again.
			}
		}
	}
	if !s.waits.IsZero() && time.Since(s.waits) > 2*s.config.AckWait {
		s.to.stall.Forget(0) // The message does not come again: Dendrite's stream has dropped it.
	}
	switch err := messages.Error(); {
	case errors.Is(err, jetstream.ErrPinIDMismatch):
		s.becomes(ctx, false)
	case err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
		return fmt.Errorf("read %s: %w", s.config.stream(), err)
	}
	return nil
}

// done does one message, and reports whether that is done.
func (s *Source) done(ctx context.Context, m jetstream.Msg, until time.Time) bool {
	if ctx.Err() == nil {
		s.becomes(ctx, true)
	}
	if err := s.handle(ctx, m, until); err != nil {
		s.waits = time.Now()
		return false
	}
	s.waits = time.Time{}
	return true
}

// becomes notes whether this process is the active one.
func (s *Source) becomes(ctx context.Context, active bool) {
	if s.active == active {
		return
	}
	s.active = active
	s.meters.isActive(ctx, active)
	if active {
		s.log.Info("this process is the active one")
		return
	}
	s.to.stall.Forget(0) // It is the other one that publishes.
	s.log.Info("another process may be the active one, standing by")
}

const (
	lastTimeout = 2 * time.Second        // for what is left to do at the end
	lastPause   = 100 * time.Millisecond // for a message that was on its way when the pin was given up
)

// leave lets another process go on at once, if this one is the active one.
func (s *Source) leave(ctx context.Context) {
	if !s.active {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	s.awaitCopied(ctx)
	if stream, err := s.js.Stream(ctx, s.config.stream()); err == nil {
		_ = stream.UnpinConsumer(ctx, s.config.Name, group) // Else another one goes on after AckWait.
	}
	s.becomes(ctx, false)
}

// awaitCopied waits until another process can look up what this one has published.
func (s *Source) awaitCopied(ctx context.Context) {
	if s.latest.id != "" {
		s.to.awaitCopied(ctx, s.latest.user, s.latest.id)
	}
}
