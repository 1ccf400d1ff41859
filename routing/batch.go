package routing

import (
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// batch is the states of one call, and where each stands in delivery order. It is
// shared by all recipients and not modified.
type batch struct {
	states    []presence.UserState
	positions []uint64 // of states: the published position, or index + 1
	contents  contents // of states
	last      []int    // last[i] is the last index of a state that says the same as states[i]
	local     []bool   // local[i] tells that states[i] is of a local user; nil where nothing is filtered
}

func newBatch(states []presence.UserState, isLocal func(presence.ServerName) bool) batch {
	b := batch{
		states:    states,
		positions: make([]uint64, len(states)),
		contents:  newContents(states),
		last:      make([]int, len(states)),
	}
	for i := range slices.Backward(states) {
		b.positions[i] = position(&states[i], i)
		b.last[i] = b.contents.add(i)
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
