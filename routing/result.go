package routing

import (
	"math/bits"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// Result is what the routers chose for one batch of states.
type Result struct {
	Recipients []Recipient // sorted by user ID; each has at least one state
	Failures   []Failure   // in registration order, at most one per router
	Refused    []uint64    // positions of states that go to nobody, ascending: every recipient that routers chose may not have them, see WithLocalServers

	routers int // that are registered
}

// Err returns nil where a router answered or none is registered, else an error
// that wraps ErrAllRoutersFailed and the error of each.
func (r Result) Err() error {
	answered := func(f Failure) bool { return f.Kind == KindInvalid } // some of the answer counts
	if r.routers == 0 || len(r.Failures) < r.routers || slices.ContainsFunc(r.Failures, answered) {
		return nil
	}
	return allFailed(r.Failures)
}

// Recipient is one user and the states to deliver to them.
type Recipient struct {
	UserID presence.UserID
	States []presence.UserState // in delivery order, no two the same; shared, do not modify

	chosenBy routerSet
	names    []string // of all routers, in registration order; shared
}

// Routers returns the names of the routers that chose a state for the recipient,
// in registration order.
func (r Recipient) Routers() []string {
	names := make([]string, 0, r.chosenBy.len())
	for i, name := range r.names {
		if r.chosenBy.has(i) {
			names = append(names, name)
		}
	}
	return names
}

// InterestResult is whose presence a user may see, as the routers answered.
type InterestResult struct {
	Interest Interest  // union over the routers that answered
	Failures []Failure // in registration order, at most one per router
}

// routerSet is a set of routers: bit i stands for the i-th registration.
type routerSet uint64

func (s routerSet) with(i int) routerSet { return s | 1<<i }
func (s routerSet) has(i int) bool       { return s&(1<<i) != 0 }
func (s routerSet) len() int             { return bits.OnesCount64(uint64(s)) }

// NewestPerUser returns the last state of each user, in order. States a router made up
// come last and count as the newest.
func NewestPerUser(states []presence.UserState) []presence.UserState {
	last := make(map[presence.UserID]int, len(states))
	for i, s := range states {
		last[s.UserID] = i
	}
	if len(last) == len(states) {
		return states
	}
	kept := make([]presence.UserState, 0, len(last))
	for i, s := range states {
		if last[s.UserID] == i {
			kept = append(kept, s)
		}
	}
	return kept
}
