package stream

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
	states, err := a.visibleStates(ctx, r.For, inOrder(r.Users, r.After))
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(states, func(a, b wire.PlacedState) int {
		return a.State.UserID.Compare(b.State.UserID)
	})
	page, err := wire.CurrentStatesAnswer{States: states}.Fit(a.maxAnswer)
	if err != nil {
		return nil, err
	}
	return page.Append(dst), nil
}

// visibleStates returns the newest states of users that viewer may see, all where
// viewer is zero, in order of the stream.
func (a *answerer) visibleStates(ctx context.Context, viewer presence.UserID, users []presence.UserID) ([]wire.PlacedState, error) {
	if viewer.IsZero() {
		return a.states.of(ctx, users)
	}
	if !a.isLocal(viewer.Server()) {
		return nil, &wire.QueryError{
			Code: wire.CodeNotLocal, Err: fmt.Errorf("for is %q, want a user of one of server_names", viewer),
		}
	}
	result, err := a.dispatcher.InterestedUsers(ctx, viewer)
	if err != nil {
		return nil, err
	}
	if result.Interest.IsAll() {
		states, err := a.states.of(ctx, users)
		if err != nil {
			return nil, err
		}
		routed, err := a.routeTo(ctx, map[presence.UserID]bool{viewer: true}, states)
		return slices.DeleteFunc(routed[viewer], func(s wire.PlacedState) bool {
			_, asked := slices.BinarySearchFunc(users, s.State.UserID, presence.UserID.Compare)
			return !asked // a router made it up
		}), err
	}
	return a.states.of(ctx, slices.DeleteFunc(users, func(user presence.UserID) bool {
		return !result.Interest.Contains(user)
	}))
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
