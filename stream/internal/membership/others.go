package membership

import (
	"slices"
	"time"

	"github.com/presence-router/presence-router/stream/internal/assignment"
	"github.com/presence-router/presence-router/stream/wire"
)

// others is what one worker knows of the others, from their heartbeats. How long
// one counts as live is measured by this worker's clock since it heard the
// heartbeat: clocks need not agree.
type others struct {
	self       string
	generation int               // of the layout that this worker serves
	since      time.Time         // it serves that
	known      map[string]*other // by ID
}

// other is another worker.
type other struct {
	wire.Heartbeat

	heard time.Time
}

func newOthers(self string) *others { return &others{self: self, known: make(map[string]*other)} }

// note takes a heartbeat of another worker over.
func (o *others) note(h wire.Heartbeat, now time.Time) {
	known := o.known[h.Worker]
	if known == nil || h.After(known.Heartbeat) {
		o.known[h.Worker] = &other{Heartbeat: h, heard: now}
	}
}

// grace counts every worker as heard just now: this one could not have heard
// anything.
func (o *others) grace(now time.Time) {
	for _, w := range o.known {
		w.heard = now
	}
}

// expire forgets the workers whose time is over.
func (o *others) expire(now time.Time) {
	for id, w := range o.known {
		if now.Sub(w.heard) > w.Lifetime() {
			delete(o.known, id)
		}
	}
}

// staying returns the IDs of the workers that take partitions of this layout, this
// one among them. Those that serve an older one will follow, so they have their
// share for as long as they may take to hear of this one.
func (o *others) staying(now time.Time) []string {
	ids := []string{o.self}
	for id, w := range o.known {
		follows := w.Generation < o.generation && now.Sub(o.since) < w.Lifetime()
		if !w.Leaving && (w.Generation == o.generation || follows) {
			ids = append(ids, id)
		}
	}
	return ids
}

// holders returns by partition which worker has it, "" for none; mine is the
// heartbeat of this one. Of two that say so, it is the one that claimed it last,
// whose claim has fenced the other.
func (o *others) holders(partitions int, mine wire.Heartbeat) []string {
	holders, claims := make([]string, partitions), make([]uint64, partitions)
	take := func(h wire.Heartbeat) {
		if h.Generation != o.generation {
			return
		}
		for i, p := range h.Partitions {
			switch claim := h.Claims[i]; {
			case p >= partitions:
			case holders[p] == "", claim > claims[p]:
				holders[p], claims[p] = h.Worker, claim
			case claim == claims[p]:
				holders[p] = assignment.Preferred(h.Worker, holders[p], p)
			}
		}
	}
	take(mine)
	for _, w := range o.known {
		take(w.Heartbeat)
	}
	return holders
}

// holds reports whether another worker says that it has a partition.
func (o *others) holds(partition int) bool {
	for _, w := range o.known {
		if w.Generation == o.generation && slices.Contains(w.Partitions, partition) {
			return true
		}
	}
	return false
}

// otherwise returns how many workers have another configuration than hash.
func (o *others) otherwise(hash string) int {
	n := 0
	for _, w := range o.known {
		if w.ConfigHash != hash {
			n++
		}
	}
	return n
}
