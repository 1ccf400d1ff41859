package routing

import (
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// fewStates is the largest batch that is searched faster than a map is made of it.
const fewStates = 8

// batch is the states of one call, and where each stands in delivery order. It is
// shared by all recipients and not modified.
type batch struct {
	states    []presence.UserState
	positions []uint64                   // of states: the published position, or index + 1
	last      []int                      // last[i] is the last index of a state that says the same as states[i]
	contents  map[presence.UserState]int // from what a state says to the last index of it; nil where states are few
	local     []bool                     // local[i] tells that states[i] is of a local user; nil where nothing is filtered
}

func newBatch(states []presence.UserState, isLocal func(presence.ServerName) bool) *batch {
	b := &batch{
		states:    states,
		positions: make([]uint64, len(states)),
		last:      make([]int, len(states)),
	}
	if len(states) > fewStates {
		b.contents = make(map[presence.UserState]int, len(states))
	}
	for i := range slices.Backward(states) {
		b.positions[i] = position(&states[i], i)
		b.last[i] = b.lastOf(&states[i], i)
	}
	if isLocal != nil {
		b.local = locality(states, isLocal)
	}
	return b
}

func position(s *presence.UserState, index int) uint64 {
	if published := s.Published(); published != nil {
		return published.Position
	}
	return uint64(index) + 1 //nolint:gosec // an index is never negative
}

// lastOf returns the last index of a state that says the same as s, which stands at
// index; the states behind it are known already.
func (b *batch) lastOf(s *presence.UserState, index int) int {
	if last := b.sameAs(s); last >= 0 {
		return last
	}
	if b.contents != nil {
		b.contents[s.Content()] = index
	}
	return index
}

func locality(states []presence.UserState, isLocal func(presence.ServerName) bool) []bool {
	local := make([]bool, len(states))
	for i := range states {
		local[i] = isLocal(states[i].UserID.Server())
	}
	return local
}

// origin returns the index of the state that s is a copy of, altered or not. near
// is tried first: routers mostly keep the order of the batch.
func (b *batch) origin(s *presence.UserState, near int) (int, bool) {
	published := s.Published()
	if published == nil {
		return 0, false
	}
	if near < len(b.states) && b.states[near].Published() == published {
		return near, true
	}
	i, found := slices.BinarySearch(b.positions, published.Position)
	return i, found && b.states[i].Published() == published
}

// sameAs returns the last index of a state that says the same as s, -1 where there
// is none.
func (b *batch) sameAs(s *presence.UserState) int {
	if b.contents == nil {
		return lastSame(b.states, s)
	}
	if i, found := b.contents[s.Content()]; found {
		return i
	}
	return -1
}

func lastSame(states []presence.UserState, s *presence.UserState) int {
	for i := range slices.Backward(states) {
		if states[i].Same(*s) {
			return i
		}
	}
	return -1
}
