package client

import (
	"context"
	"iter"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// CurrentStates asks for the newest states of users, any number of them, and
// yields each with its place in the history of its user, an error at most as the
// last. Users of whom nothing is known are left out. With a viewer that is not zero
// it yields what that local user may see, as the routers leave it.
func (c *Client) CurrentStates(ctx context.Context, users []presence.UserID, viewer presence.UserID) iter.Seq2[wire.PlacedState, error] {
	return func(yield func(wire.PlacedState, error) bool) {
		for part := range slices.Chunk(users, wire.MaxQueryUsers) {
			if !c.currentStates(ctx, wire.CurrentStatesRequest{Users: part, For: viewer}, yield) {
				return
			}
		}
	}
}

func (c *Client) currentStates(ctx context.Context, request wire.CurrentStatesRequest, yield func(wire.PlacedState, error) bool) bool {
	return each(yield, func() ([]wire.PlacedState, bool, error) {
		answer, err := c.ask(ctx, wire.CurrentStates, request.Append(nil))
		if err != nil {
			return nil, false, err
		}
		page, err := wire.DecodeCurrentStatesAnswer(answer)
		if err != nil {
			return nil, false, err
		}
		more, err := turn(&request.After, page.Next)
		return page.States, more, err
	})
}
