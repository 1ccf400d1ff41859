package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/assignment"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// reconcile begins and ends tenures, so that this worker gets to its share, and
// tells the others what has changed.
func (m *Members) reconcile(work context.Context) {
	now := time.Now()
	missing := 0
	switch {
	case m.stopping:
	case m.wanted != m.layout && !m.change():
		missing = m.wanted.Partitions
	default:
		missing = m.approach(work, now)
	}
	m.setWaiting(m.waitsFor(now, missing))
	if next := m.now(); next.Leaving != m.beat.Leaving || next.Generation != m.beat.Generation ||
		!slices.Equal(next.Partitions, m.beat.Partitions) || !slices.Equal(next.Claims, m.beat.Claims) {
		m.say()
	}
	m.telemetry.membership(work, len(m.others.known)+1, m.others.otherwise(m.beat.ConfigHash))
}

// waitsFor returns nil if the worker has its share, else what it waits for.
func (m *Members) waitsFor(now time.Time, missing int) error {
	switch {
	case m.stopping:
		return errStopping
	case !m.member(now):
		return fmt.Errorf("not a member: no heartbeat was stored and heard within %v", m.config.TTL)
	case missing > 0:
		return fmt.Errorf("%s not claimed yet", plural.Of(missing, "partition of this worker's share is", "partitions of this worker's share are"))
	default:
		return nil
	}
}

// change goes over to the layout that is wanted, once every partition of the one
// before is given up, and reports whether it has.
func (m *Members) change() bool {
	for _, t := range m.tenures {
		t.release()
	}
	if len(m.tenures) > 0 {
		return false
	}
	m.config.Log.Info("the partitions are others now", "before", m.layout.String(), "now", m.wanted.String())
	m.adopt(m.wanted)
	return true
}

// adopt has the next tenures be of layout.
func (m *Members) adopt(layout wire.Layout) {
	m.layout, m.wanted = layout, layout
	m.others.generation, m.others.since = layout.Generation, time.Now()
	m.config.OnLayout(layout)
	clear(m.waits)
	clear(m.rests)
	m.changes = newChanges()
}

// approach begins and ends tenures, and returns how many partitions of its share
// this worker does not have yet.
func (m *Members) approach(work context.Context, now time.Time) (missing int) {
	excess := 0
	for p, owner := range assignment.Owners(m.others.staying(now), m.others.holders(m.layout.Partitions, m.now())) {
		t := m.tenures[p]
		switch {
		case owner != m.others.self:
			delete(m.waits, p)
			if t != nil {
				excess++
				t.release()
			}
		case t == nil:
			missing++
			if m.mayClaim(p, now) {
				m.begin(work, p)
			}
		case t.claim == 0:
			missing++
		}
	}
	if missing+excess == 0 {
		m.tellChanges(now)
	}
	return missing
}

// mayClaim reports whether it is time to claim a partition: whoever has it has
// given it up, or does not in time. A worker that is no member claims nothing: it
// may be the one that cannot be heard.
func (m *Members) mayClaim(partition int, now time.Time) bool {
	if !m.member(now) || now.Before(m.rests[partition]) {
		return false
	}
	if !m.others.holds(partition) {
		delete(m.waits, partition)
		return true
	}
	if m.waits[partition].IsZero() {
		m.waits[partition] = now
	}
	return now.Sub(m.waits[partition]) > m.config.TTL
}

// tenure is this worker's time with a partition, from the first attempt to claim it
// until all that was routed is committed or the partition is lost.
type tenure struct {
	release context.CancelFunc // ends it in good order
	claim   uint64             // sequence of the checkpoint it was claimed with, 0 until it is
}

// event is what a tenure has come to.
type event struct {
	partition int
	claimed   *Claimed // if it has claimed the partition
	err       error    // else, why it ended; nil if the partition was released
}

// begin begins a tenure.
func (m *Members) begin(work context.Context, partition int) {
	take, release := context.WithCancel(work)
	m.tenures[partition] = &tenure{release: release}
	var limit time.Duration
	if !m.begun {
		limit = m.config.StartTimeout
	}
	id := deployment.Partition{Generation: m.layout.Generation, Number: partition}
	m.running.Go(func() {
		defer release()
		err := m.config.Serve(take, work, id, limit, func(c Claimed) {
			m.events <- event{partition: partition, claimed: &c}
		})
		m.events <- event{partition: partition, err: err}
	})
}

// restsPerTTL is how many times in the time that a heartbeat counts a partition may
// be claimed that is lost again and again.
const restsPerTTL = 3

// note takes over what a tenure has come to.
func (m *Members) note(work context.Context, e event) {
	if e.claimed != nil {
		m.tenures[e.partition].claim = e.claimed.Revision
		if !e.claimed.Again {
			m.changes.claimed(*e.claimed)
		}
		return
	}
	delete(m.tenures, e.partition)
	delete(m.waits, e.partition)
	m.changes.ended++
	switch lost := (*checkpoint.LostError)(nil); {
	case e.err == nil || wait.Ended(work):
	case errors.As(e.err, &lost):
		m.rests[e.partition] = time.Now().Add(m.config.TTL / restsPerTTL)
	default:
		m.stop(e.err)
	}
}

// changes is what has become of a worker's partitions since it told so last, for one
// line of log about many partitions.
type changes struct {
	begun int            // claimed
	fresh int            // of them, those without a checkpoint
	from  map[string]int // of them, how many each worker had before
	ended int
}

func newChanges() changes { return changes{from: make(map[string]int)} }

func (c *changes) claimed(claimed Claimed) {
	c.begun++
	switch claimed.Before {
	case "":
		c.fresh++
	case checkpoint.Repartitioner: // Nobody has had it yet.
	default:
		c.from[claimed.Before]++
	}
}

// tellChanges logs how this worker got to its share, at once the first time, then
// at most once in the time that a heartbeat counts.
func (m *Members) tellChanges(now time.Time) {
	c := m.changes
	if m.begun && (c.begun+c.ended == 0 || now.Sub(m.told) < m.config.TTL) {
		return
	}
	log := m.config.Log.With("worker", m.others.self, "partitions", len(m.tenures), "workers", len(m.others.known)+1,
		"taken_over_from", c.from)
	if m.begun {
		log.Info("partitions were shared anew", "given_up", c.ended)
	} else {
		log.Info("claimed the partitions")
	}
	if c.fresh > 0 {
		m.config.Log.Info("partitions have no checkpoint", "partitions", c.fresh, "start", m.config.Start)
	}
	m.begun, m.told, m.changes = true, now, newChanges()
}
