package stream

import (
	"slices"
	"time"

	"github.com/presence-router/presence-router/stream/internal/assignment"
	"github.com/presence-router/presence-router/stream/wire"
)

// members is what one worker knows of the others, from their heartbeats. How long
// one counts as live is measured by this worker's clock since it heard the
// heartbeat: clocks need not agree.
type members struct {
	self       string
	generation int                // of the layout that this worker serves
	since      time.Time          // it serves that
	others     map[string]*member // by ID
}

// member is another worker.
type member struct {
	wire.Heartbeat

	heard time.Time
}

func newMembers(self string) *members { return &members{self: self, others: make(map[string]*member)} }

// note takes a heartbeat of another worker over.
func (m *members) note(h wire.Heartbeat, now time.Time) {
	known := m.others[h.Worker]
	if known == nil || h.After(known.Heartbeat) {
		m.others[h.Worker] = &member{Heartbeat: h, heard: now}
	}
}

// grace counts every worker as heard just now: this one could not have heard
// anything.
func (m *members) grace(now time.Time) {
	for _, o := range m.others {
		o.heard = now
	}
}

// expire forgets the workers whose time is over.
func (m *members) expire(now time.Time) {
	for id, o := range m.others {
		if now.Sub(o.heard) > o.Lifetime() {
			delete(m.others, id)
		}
	}
}

// staying returns the IDs of the workers that take partitions of this layout, this
// one among them. Those that serve an older one will follow, so they have their
// share for as long as they may take to hear of this one.
func (m *members) staying(now time.Time) []string {
	ids := []string{m.self}
	for id, o := range m.others {
		follows := o.Generation < m.generation && now.Sub(m.since) < o.Lifetime()
		if !o.Leaving && (o.Generation == m.generation || follows) {
			ids = append(ids, id)
		}
	}
	return ids
}

// holders returns by partition which worker has it, "" for none; mine is the
// heartbeat of this one. Of two that say so, it is the one that claimed it last,
// whose claim has fenced the other.
func (m *members) holders(partitions int, mine wire.Heartbeat) []string {
	holders, claims := make([]string, partitions), make([]uint64, partitions)
	take := func(h wire.Heartbeat) {
		if h.Generation != m.generation {
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
	for _, o := range m.others {
		take(o.Heartbeat)
	}
	return holders
}

// holds reports whether another worker says that it has a partition.
func (m *members) holds(partition int) bool {
	for _, o := range m.others {
		if o.Generation == m.generation && slices.Contains(o.Partitions, partition) {
			return true
		}
	}
	return false
}

// otherwise returns how many workers have another configuration than hash.
func (m *members) otherwise(hash string) int {
	n := 0
	for _, o := range m.others {
		if o.ConfigHash != hash {
			n++
		}
	}
	return n
}
