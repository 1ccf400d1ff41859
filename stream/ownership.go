package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/assignment"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// ErrReplaced is wrapped by the error of a worker that ended because another one
// was started under its ID.
var ErrReplaced = errors.New("another worker was started under the same worker.id")

// errUnheard is the error of a worker whose heartbeats come to no subscription.
var errUnheard = errors.New("this worker does not hear its own heartbeats")

// looksPerTTL is how often in the time that a heartbeat counts for a worker looks
// who is gone.
const looksPerTTL = 12

// restsPerTTL is how many times in the time that a heartbeat counts a partition may
// be claimed that is lost again and again.
const restsPerTTL = 3

// ownership shares the partitions with the other workers: it tells them which ones
// this worker has, hears the same of them, and takes and gives up partitions until
// everybody has a share. All of that is for balance alone. That no two workers
// commit for one partition is the fence's doing.
//
// Its fields are of the goroutine in run, which no tenure waits for.
type ownership struct {
	worker    *Worker
	ttl       time.Duration
	members   *members
	announcer *announcer
	watch     *layoutWatch
	heard     chan *nats.Msg // heartbeats of everybody
	events    chan event     // of tenures
	end       func()         // ends the context of run

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
	failure  error // why it stops, nil where it was asked to
}

func (w *Worker) newOwnership() *ownership {
	ttl := w.config.Worker.TTL
	return &ownership{
		worker: w, ttl: ttl, members: newMembers(w.ID()),
		announcer: newAnnouncer(w.js, w.subjects, ttl, wait.NewStall(w.options.log, "publishing heartbeats")),
		heard:     make(chan *nats.Msg, maxHeard),
		watch:     newLayoutWatch(w),
		events:    make(chan event, deployment.MaxPartitions),
		tenures:   make(map[int]*tenure), waits: make(map[int]time.Time), rests: make(map[int]time.Time),
		began: time.Now(),
		beat: wire.Heartbeat{
			Worker: w.ID(), Instance: w.instance, Version: w.options.version, ConfigHash: w.options.configHash,
			Started: time.Now(), TTL: ttl.Milliseconds(),
		},
		rates: newRates(), changes: newChanges(),
	}
}

// run shares the partitions until ctx ends, then gives its own up and returns. The
// error says why the worker cannot go on.
func (o *ownership) run(ctx, work context.Context) error {
	var announcing, watching sync.WaitGroup
	defer watching.Wait()
	looking, endLooking := context.WithCancel(work)
	defer endLooking()
	watching.Go(func() { o.watch.run(looking) })
	watching.Go(func() { o.worker.countPending(looking) })
	watching.Go(func() { o.worker.streams.run(looking) })
	watching.Go(func() { o.worker.care.Load().run(looking) })
	announcing.Go(func() { o.announcer.run(work) })
	beats, looks := time.NewTicker(o.ttl/beatsPerTTL), time.NewTicker(o.ttl/looksPerTTL)
	defer beats.Stop()
	defer looks.Stop()
	o.looked = time.Now()
	o.say()
	stop := ctx.Done()
	for !o.stopping || len(o.tenures) > 0 {
		select {
		case m := <-o.heard:
			o.hear(m)
		case sent := <-o.announcer.stored:
			o.renew(sent)
		case <-beats.C:
			o.rates.measure(o.worker.commits.Totals())
			o.say()
		case now := <-looks.C:
			o.look(now)
		case o.wanted = <-o.watch.newest:
		case e := <-o.events:
			o.note(work, e)
		case <-stop:
			stop = nil
			o.stop(nil)
		}
		o.reconcile(work)
	}
	o.running.Wait()
	o.announcer.end()
	announcing.Wait()
	return o.failure
}

// hear takes a heartbeat over. What is none, such as the marker of a key that was
// deleted, says nothing.
func (o *ownership) hear(m *nats.Msg) {
	if m.Subject == o.worker.subjects.LayoutRecord() {
		o.watch.poke()
		return
	}
	h, err := wire.DecodeHeartbeat(m.Data)
	if err == nil && h.Generation != o.layout.Generation {
		o.watch.poke()
	}
	switch {
	case err != nil:
		o.worker.options.log.Debug("heard what is no heartbeat", "subject", m.Subject, "error", err)
	case h.Worker != o.members.self:
		o.members.note(h, time.Now())
	case h.Instance == o.beat.Instance:
		o.echoed = time.Now()
	case h.Replaces(o.beat):
		o.stop(fmt.Errorf("%w: %s, started at %s", ErrReplaced, h.Worker, h.Started.Format(time.RFC3339Nano)))
	}
}

// renew notes that the server has stored a heartbeat. Where it had not for so long
// that this worker was no member any more, it may have missed those of others.
func (o *ownership) renew(sent time.Time) {
	now := time.Now()
	if o.joined && !o.member(now) {
		o.members.grace(now)
	}
	o.renewed = sent
}

// member reports whether the others count this worker as live, and it would hear
// if they did not.
func (o *ownership) member(now time.Time) bool {
	return now.Sub(o.renewed) < o.ttl && now.Sub(o.echoed) < o.ttl
}

// look finds out who is gone. While this worker itself could not hear anything, or
// was not running, nobody is.
func (o *ownership) look(now time.Time) {
	if !o.worker.nc.IsConnected() || now.Sub(o.looked) > o.ttl/beatsPerTTL {
		o.members.grace(now)
	}
	o.looked = now
	o.members.expire(now)
	if !o.joined {
		o.stopUnlessJoining(now)
	}
}

// stopUnlessJoining gives up becoming a member where that is of no use or takes too
// long.
func (o *ownership) stopUnlessJoining(now time.Time) {
	if o.joined = o.member(now); o.joined {
		return
	}
	err := o.worker.care.Load().explain(o.announcer.stall.Waiting())
	if err == nil {
		err = errUnheard
	}
	if reason := o.worker.giveUp(err, now.Sub(o.began), o.worker.config.Worker.StartTimeout); reason != nil {
		o.stop(fmt.Errorf("join the other workers: %w", reason))
	}
}

// stop gives every partition up, within the time to stop. The failure is what run
// returns.
func (o *ownership) stop(failure error) {
	if !o.stopping {
		o.stopping, o.failure = true, failure
		o.end()
	}
	for _, t := range o.tenures {
		t.release()
	}
}

// reconcile begins and ends tenures, so that this worker gets to its share, and
// tells the others what has changed.
func (o *ownership) reconcile(work context.Context) {
	now := time.Now()
	missing := 0
	switch {
	case o.stopping:
	case o.wanted != o.layout && !o.change():
		missing = o.wanted.Partitions
	default:
		missing = o.approach(work, now)
	}
	o.worker.setWaiting(o.waiting(now, missing))
	if next := o.now(); next.Leaving != o.beat.Leaving || next.Generation != o.beat.Generation ||
		!slices.Equal(next.Partitions, o.beat.Partitions) || !slices.Equal(next.Claims, o.beat.Claims) {
		o.say()
	}
	o.worker.telemetry.membership(work, len(o.members.others)+1, o.members.otherwise(o.beat.ConfigHash))
}

// approach begins and ends tenures, and returns how many partitions of its share
// this worker does not have yet.
func (o *ownership) approach(work context.Context, now time.Time) (missing int) {
	excess := 0
	for p, owner := range assignment.Owners(o.members.staying(now), o.holders()) {
		t := o.tenures[p]
		switch {
		case owner != o.members.self:
			delete(o.waits, p)
			if t != nil {
				excess++
				t.release()
			}
		case t == nil:
			missing++
			if o.mayClaim(p, now) {
				o.begin(work, p)
			}
		case t.claim == 0:
			missing++
		}
	}
	if missing+excess == 0 {
		o.tellChanges(now)
	}
	return missing
}

func (o *ownership) holders() []string {
	return o.members.holders(o.layout.Partitions, o.now())
}

// now returns what the next heartbeat is to say.
func (o *ownership) now() wire.Heartbeat {
	h := o.beat
	h.Leaving, h.Generation, h.Partitions = o.stopping, o.layout.Generation, slices.Sorted(maps.Keys(o.tenures))
	h.Claims = make([]uint64, len(h.Partitions))
	for i, p := range h.Partitions {
		h.Claims[i] = o.tenures[p].claim
	}
	h.Updates, h.Deliveries, h.Rates = o.rates.all(), o.rates.deliveries, o.rates.of(h.Partitions)
	h.StreamsDiffer = o.worker.streams.differences()
	h.LostUpdates, h.LastLost = o.worker.losses.sum()
	h.NotLocal, h.LastNotLocal = o.worker.commits.NotLocal()
	return h
}

// say has a new heartbeat published.
func (o *ownership) say() {
	o.beat = o.now()
	o.beat.Beat++
	o.announcer.say(o.beat)
}

// waiting returns nil where the worker has its share, else what it waits for.
func (o *ownership) waiting(now time.Time, missing int) error {
	switch {
	case o.stopping:
		return errWorkerStopping
	case !o.member(now):
		return fmt.Errorf("not a member: no heartbeat was stored and heard within %v", o.ttl)
	case missing > 0:
		return fmt.Errorf("%s not claimed yet", plural.Of(missing, "partition of this worker's share is", "partitions of this worker's share are"))
	default:
		return nil
	}
}
