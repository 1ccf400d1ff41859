package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// ErrReplaced is wrapped by the error of a worker that ended because another one
// was started under its ID.
var ErrReplaced = errors.New("another worker was started under the same worker.id")

var (
	errNotRunning = errors.New("partitions are not claimed: the worker is not running")
	errStopping   = errors.New("partitions are not claimed: the worker is stopping")
	errUnheard    = errors.New("this worker does not hear its own heartbeats")
)

// Config is what Members are made of.
type Config struct {
	JS           jetstream.JetStream
	Subjects     wire.Subjects
	Layouts      deployment.Layouts
	Worker       string        // ID of this worker
	Instance     string        // unique to this process
	Version      string        // of the program
	ConfigHash   string        // the same for workers that route alike
	TTL          time.Duration // how long a worker that is not heard of keeps its partitions
	StartTimeout time.Duration // bound on the first claim of each partition
	Configured   int           // partitions that the worker is configured with
	Start        string        // where a partition without a checkpoint begins, for the log
	Log          *slog.Logger
	Meter        metric.Meter

	// Serve claims a partition, trying for as long as limit, 0 for no limit, and serves
	// it until take ends; what has been taken by then is still committed, unless work
	// ends as well. It hands each claim to claimed. It returns a *checkpoint.LostError if
	// another worker has the partition now, another error if the worker cannot go on.
	// Several partitions are served at once.
	Serve func(take, work context.Context, partition deployment.Partition, limit time.Duration, claimed func(Claimed)) error
	// OnLayout is called with each layout that the worker serves from then on.
	OnLayout func(wire.Layout)
	// Totals returns how much the worker has committed so far.
	Totals func() Totals
	// Report adds to a heartbeat what the worker knows beside its partitions.
	Report func(*wire.Heartbeat)
	// Try tries until it works out, for as long as a worker may take to start.
	Try func(ctx context.Context, waiting *wait.Stall, try func(context.Context) error) error
	// GiveUp returns why a worker that has begun a while ago is not to go on trying to
	// start after err, nil if it is.
	GiveUp func(err error, spent time.Duration) error
}

// Claimed is what comes of a claim.
type Claimed struct {
	Revision uint64 // sequence of the checkpoint that the partition was claimed with
	Before   string // worker that had the partition before, "" if it had no checkpoint
	Again    bool   // this worker had it all along
}

// Members shares the partitions with the other workers: it tells them which ones
// this worker has, hears the same of them, and takes and gives up partitions until
// everybody has a share. All of that is for balance alone. That no two workers
// commit for one partition is the fence's doing.
//
// But for what Waiting and Moving return, its fields are of the goroutine in Run, which
// no tenure waits for.
type Members struct {
	config    Config
	others    *others
	announcer *announcer
	watch     *layoutWatch
	telemetry *telemetry
	heard     chan *nats.Msg // heartbeats of everybody
	events    chan event     // of tenures
	end       func()         // ends the context of Run

	layout  wire.Layout // that the tenures are of
	wanted  wire.Layout // that is to be served
	tenures map[int]*tenure
	running sync.WaitGroup    // tenures
	waits   map[int]time.Time // since when a partition is to come from another worker
	rests   map[int]time.Time // until when a partition that was lost is left alone
	renewed time.Time         // when the newest heartbeat that the server stored was sent
	echoed  time.Time         // when this worker heard itself last
	looked  time.Time
	began   time.Time      // by the clock of this machine, whatever the heartbeats say
	beat    wire.Heartbeat // the newest one
	rates   rates
	changes changes
	told    time.Time // when changes were logged last

	joined   bool  // this worker was a member once
	begun    bool  // this worker has had its share once
	stopping bool  // it takes no partition any more
	failure  error // why it stops, nil if it was asked to

	waiting atomic.Pointer[error] // what the worker waits for until it has its share; nil for nothing
}

// maxHeard bounds the heartbeats that wait to be heard. More than that are dropped,
// and come again.
const maxHeard = 1024

// New returns Members that have not joined the other workers.
func New(c Config) (*Members, error) {
	telemetry, err := newTelemetry(c.Meter)
	if err != nil {
		return nil, err
	}
	m := &Members{
		config: c, others: newOthers(c.Worker), telemetry: telemetry,
		announcer: newAnnouncer(c.JS, c.Subjects, c.TTL, wait.NewStall(c.Log, "publishing heartbeats")),
		watch:     newLayoutWatch(c),
		heard:     make(chan *nats.Msg, maxHeard),
		events:    make(chan event, deployment.MaxPartitions),
		tenures:   make(map[int]*tenure), waits: make(map[int]time.Time), rests: make(map[int]time.Time),
		changes: newChanges(),
	}
	m.setWaiting(errNotRunning)
	return m, nil
}

func (m *Members) setWaiting(err error) {
	if err == nil {
		m.waiting.Store(nil)
		return
	}
	m.waiting.Store(&err)
}

// Waiting returns nil while the worker has its share of the partitions, else what it
// waits for.
func (m *Members) Waiting() error {
	if waiting := m.waiting.Load(); waiting != nil {
		return *waiting
	}
	return nil
}

// Moving returns nil, or what a change of the number of partitions holds up for too
// long.
func (m *Members) Moving() error { return m.watch.moving.Waiting() }

// Join hears from now on what the other workers say, until leave is called, and finds
// out what they said last. It is called once.
func (m *Members) Join(ctx context.Context) (leave func(), err error) {
	m.starts(time.Now())
	c := m.config
	hearing, err := c.JS.Conn().ChanSubscribe(c.Subjects.Heartbeats(), m.heard)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", c.Subjects.Heartbeats(), err)
	}
	leave = func() {
		_ = hearing.Unsubscribe() // The connection may be closed by then.
		m.watch.moving.Close()
		m.setWaiting(errNotRunning)
	}
	err = c.Try(ctx, wait.NewStall(c.Log, "reading who else is there"), func(ctx context.Context) error {
		return errors.Join(m.readLayout(ctx), m.readOthers(ctx))
	})
	if err != nil {
		leave()
		return nil, err
	}
	if m.layout.Partitions != c.Configured {
		c.Log.Warn("the deployment has another number of partitions than streams.partitions, and keeps it: change it with router-worker topology repartition",
			"have", m.layout.Partitions, "configured", c.Configured)
	}
	return leave, nil
}

// starts notes when this worker starts.
func (m *Members) starts(now time.Time) {
	c := m.config
	m.began, m.rates = now, newRates(now)
	m.beat = wire.Heartbeat{
		Worker: c.Worker, Instance: c.Instance, Version: c.Version, ConfigHash: c.ConfigHash,
		Started: now, TTL: c.TTL.Milliseconds(),
	}
}

// readLayout takes the layout up that the deployment has when this worker begins.
func (m *Members) readLayout(ctx context.Context) error {
	layout, err := m.watch.look(ctx)
	if err != nil {
		return err
	}
	m.adopt(layout)
	return nil
}

// readOthers reads the heartbeats that the bucket holds. How old each is, is told
// by the server's clock alone. A worker that is there under this one's ID is
// replaced, whatever the clock of its machine says.
func (m *Members) readOthers(ctx context.Context) error {
	now := time.Now()
	return deployment.ReadHeartbeats(ctx, m.config.JS, m.config.Subjects, func(h wire.Heartbeat, age time.Duration) {
		switch {
		case h.Worker != m.others.self:
			m.others.note(h, now.Add(-age))
		case h.Replaces(m.beat):
			m.beat.Started = h.Started.Add(time.Nanosecond)
		}
	})
}

// looksPerTTL is how often in the time that a heartbeat counts for a worker looks
// who is gone.
const looksPerTTL = 12

// Run shares the partitions until ctx ends, then gives its own up and returns. It
// calls end, which ends ctx, if the worker cannot go on; the error says why. It is
// called once, behind Join.
func (m *Members) Run(ctx, work context.Context, end func()) error {
	m.end = end
	var announcing, watching sync.WaitGroup
	defer watching.Wait()
	looking, endLooking := context.WithCancel(work)
	defer endLooking()
	watching.Go(func() { m.watch.run(looking) })
	announcing.Go(func() { m.announcer.run(work) })
	beats, looks := time.NewTicker(m.config.TTL/beatsPerTTL), time.NewTicker(m.config.TTL/looksPerTTL)
	defer beats.Stop()
	defer looks.Stop()
	m.looked = time.Now()
	m.say()
	stop := ctx.Done()
	for !m.stopping || len(m.tenures) > 0 {
		select {
		case message := <-m.heard:
			m.hear(message)
		case sent := <-m.announcer.stored:
			m.renew(sent)
		case <-beats.C:
			m.rates.measure(m.config.Totals())
			m.say()
		case now := <-looks.C:
			m.look(now)
		case m.wanted = <-m.watch.newest:
		case e := <-m.events:
			m.note(work, e)
		case <-stop:
			stop = nil
			m.stop(nil)
		}
		m.reconcile(work)
	}
	m.running.Wait()
	m.announcer.end()
	announcing.Wait()
	return m.failure
}

// hear takes a heartbeat over. What is none, such as the marker of a key that was
// deleted, says nothing.
func (m *Members) hear(message *nats.Msg) {
	if message.Subject == m.config.Subjects.LayoutRecord() {
		m.watch.poke()
		return
	}
	h, err := wire.DecodeHeartbeat(message.Data)
	if err == nil && h.Generation != m.layout.Generation {
		m.watch.poke()
	}
	switch {
	case err != nil:
		m.config.Log.Debug("heard what is no heartbeat", "subject", message.Subject, "error", err)
	case h.Worker != m.others.self:
		m.others.note(h, time.Now())
	case h.Instance == m.beat.Instance:
		m.echoed = time.Now()
	case h.Replaces(m.beat):
		m.stop(fmt.Errorf("%w: %s, started at %s", ErrReplaced, h.Worker, h.Started.Format(time.RFC3339Nano)))
	}
}

// renew notes that the server has stored a heartbeat. After a gap that was long enough
// to lose membership, this worker may have missed heartbeats of the others too, so each
// of them counts as heard just now.
func (m *Members) renew(sent time.Time) {
	now := time.Now()
	if m.joined && !m.member(now) {
		m.others.grace(now)
	}
	m.renewed = sent
}

// member reports whether the others count this worker as live, and it would hear
// if they did not.
func (m *Members) member(now time.Time) bool {
	return now.Sub(m.renewed) < m.config.TTL && now.Sub(m.echoed) < m.config.TTL
}

// look finds out who is gone. While this worker itself could not hear anything, or
// was not running, nobody is.
func (m *Members) look(now time.Time) {
	if !m.config.JS.Conn().IsConnected() || now.Sub(m.looked) > m.config.TTL/beatsPerTTL {
		m.others.grace(now)
	}
	m.looked = now
	m.others.expire(now)
	if !m.joined {
		m.stopUnlessJoining(now)
	}
}

// stopUnlessJoining gives up becoming a member if that cannot work out or takes too
// long.
func (m *Members) stopUnlessJoining(now time.Time) {
	if m.joined = m.member(now); m.joined {
		return
	}
	err := m.announcer.stall.Waiting()
	if err == nil {
		err = errUnheard
	}
	if reason := m.config.GiveUp(err, now.Sub(m.began)); reason != nil {
		m.stop(fmt.Errorf("join the other workers: %w", reason))
	}
}

// stop gives every partition up, within the time to stop. The failure is what Run
// returns.
func (m *Members) stop(failure error) {
	if !m.stopping {
		m.stopping, m.failure = true, failure
		m.end()
	}
	for _, t := range m.tenures {
		t.release()
	}
}

// now returns what the next heartbeat is to say.
func (m *Members) now() wire.Heartbeat {
	h := m.beat
	h.Leaving, h.Generation, h.Partitions = m.stopping, m.layout.Generation, slices.Sorted(maps.Keys(m.tenures))
	h.Claims = make([]uint64, len(h.Partitions))
	for i, p := range h.Partitions {
		h.Claims[i] = m.tenures[p].claim
	}
	h.Updates, h.Deliveries, h.Rates = m.rates.all(), m.rates.deliveries, m.rates.of(h.Partitions)
	m.config.Report(&h)
	return h
}

// say has a new heartbeat published.
func (m *Members) say() {
	m.beat = m.now()
	m.beat.Beat++
	m.announcer.say(m.beat)
}
