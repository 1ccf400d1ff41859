package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// currentStates answers what the newest states of users are.
func (a *answerer) currentStates(ctx context.Context, dst, request []byte) ([]byte, error) {
	r, err := wire.DecodeCurrentStatesRequest(request)
	if err != nil {
		return nil, err
	}
	users, routed, err := a.visibleUsers(ctx, r.For, inOrder(r.Users, r.After))
	if err != nil {
		return nil, err
	}
	if len(users) == 0 {
		return wire.CurrentStatesAnswer{}.Append(dst), nil
	}
	page, err := a.pageOfStates(ctx, users, routed, r.For)
	if err != nil {
		return nil, err
	}
	if page, err = page.Fit(a.maxAnswer); err != nil {
		return nil, err
	}
	return page.Append(dst), nil
}

// visibleUsers returns those of users whose presence viewer may see, all where
// viewer is zero, and whether the routers are to be asked about each state of theirs.
func (a *answerer) visibleUsers(ctx context.Context, viewer presence.UserID, users []presence.UserID) (visible []presence.UserID, routed bool, err error) {
	if viewer.IsZero() {
		return users, false, nil
	}
	if !a.isLocal(viewer.Server()) {
		return nil, false, &wire.QueryError{
			Code: wire.CodeNotLocal, Err: fmt.Errorf("for is %q, want a user of one of server_names", viewer),
		}
	}
	result, err := a.dispatcher.InterestedUsers(ctx, viewer)
	if err != nil {
		return nil, false, err
	}
	if result.Interest.IsAll() {
		return users, true, nil
	}
	return slices.DeleteFunc(users, func(user presence.UserID) bool { return !result.Interest.Contains(user) }), false, nil
}

// pageOfStates returns the newest states of the first of users, about as many as fit
// an answer, in order of users; where routed is set, what the routers leave of them
// for viewer.
func (a *answerer) pageOfStates(ctx context.Context, users []presence.UserID, routed bool, viewer presence.UserID) (wire.CurrentStatesAnswer, error) {
	var page wire.CurrentStatesAnswer
	epochs, err := a.states.readEpochs(ctx)
	if err != nil {
		return page, err
	}
	states, first, err := a.states.ofFirst(ctx, epochs, users, a.maxAnswer)
	if err != nil {
		return page, err
	}
	if routed {
		chosen, err := a.routeTo(ctx, map[presence.UserID]bool{viewer: true}, states)
		if err != nil {
			return page, err
		}
		states = slices.DeleteFunc(chosen[viewer], func(s wire.PlacedState) bool {
			_, asked := slices.BinarySearchFunc(first, s.State.UserID, presence.UserID.Compare)
			return !asked // a router made it up
		})
	}
	if len(first) < len(users) {
		page.Next = first[len(first)-1]
	}
	page.States = states
	slices.SortStableFunc(page.States, func(a, b wire.PlacedState) int { return a.State.UserID.Compare(b.State.UserID) })
	return page, nil
}

// routeTo asks the routers who receives states, which stand in order of the stream,
// and returns what each of recipients gets.
func (a *answerer) routeTo(
	ctx context.Context, recipients map[presence.UserID]bool, states []wire.PlacedState,
) (map[presence.UserID][]wire.PlacedState, error) {
	batch := make([]presence.UserState, len(states))
	for i, s := range states {
		batch[i] = s.State
	}
	chosen, err := a.route(ctx, batch)
	routed := make(map[presence.UserID][]wire.PlacedState)
	for _, r := range chosen {
		if recipients[r.UserID] {
			routed[r.UserID] = place(r.States, states)
		}
	}
	return routed, err
}

// place gives each of routed, copies of states or made up, the epoch of the state
// that it was copied from, the newest one where that is none.
func place(routed []presence.UserState, states []wire.PlacedState) []wire.PlacedState {
	placed := make([]wire.PlacedState, len(routed))
	for i, s := range routed {
		placed[i] = wire.PlacedState{Epoch: epochOf(s, states), State: s}
	}
	return placed
}

func epochOf(s presence.UserState, states []wire.PlacedState) int64 {
	if p := s.Published(); p != nil {
		at, found := slices.BinarySearchFunc(states, p.Position, func(s wire.PlacedState, position uint64) int {
			return cmp.Compare(s.State.Published().Position, position)
		})
		if found {
			return states[at].Epoch
		}
	}
	newest := slices.MaxFunc(states, func(a, b wire.PlacedState) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return newest.Epoch
}
