package routing

import (
	"cmp"
	"math"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// madeUp stands for the position of a state that came from no update.
const madeUp = math.MaxUint64

// other is a state that a router altered or made up.
type other struct {
	state    presence.UserState
	position uint64 // of the update it came from, or madeUp
	replaces int    // earlier state of the batch that says the same, -1 where there is none
}

// inOrder sorts others into delivery order. Of those that say the same the last one
// stays; made-up ones, whose place is nowhere in particular, count as the others.
func inOrder(others []other) []other {
	slices.SortFunc(others, byContentNewestFirst)
	others = slices.CompactFunc(others, sameContent)
	slices.SortFunc(others, byPosition)
	return others
}

func byContentNewestFirst(a, b other) int {
	if c := compareContents(&a.state, &b.state); c != 0 {
		return c
	}
	if a.position == madeUp || b.position == madeUp {
		return cmp.Compare(a.position, b.position)
	}
	return cmp.Compare(b.position, a.position)
}

func sameContent(a, b other) bool { return a.state.Same(b.state) }

func byPosition(a, b other) int {
	if c := cmp.Compare(a.position, b.position); c != 0 {
		return c
	}
	return compareContents(&a.state, &b.state)
}

// compareContents orders states by what they say: first by last_active_ts, the rest
// only makes the order a total one.
func compareContents(a, b *presence.UserState) int {
	if c := cmp.Compare(a.LastActive, b.LastActive); c != 0 {
		return c
	}
	return cmp.Or(
		a.UserID.Compare(b.UserID),
		cmp.Compare(a.LastUserSync, b.LastUserSync),
		cmp.Compare(a.LastFederationUpdate, b.LastFederationUpdate),
		cmp.Compare(a.State, b.State),
		compareBools(a.CurrentlyActive, b.CurrentlyActive),
		compareBools(a.StatusMsg.IsSet, b.StatusMsg.IsSet),
		cmp.Compare(a.StatusMsg.Text, b.StatusMsg.Text),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
