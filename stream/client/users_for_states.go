package client

import (
	"context"
	"iter"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// UsersForStates asks who should receive states, and yields the recipients in
// order, each with their states, an error at most as the last. A recipient with
// more states than one answer holds comes several times in a row. The states
// together have to fit the largest message of the server (1 MiB by default), and
// each of them the workers' streams.updates.max_update_bytes.
func (c *Client) UsersForStates(ctx context.Context, states []presence.UserState) iter.Seq2[wire.UserStates, error] {
	return func(yield func(wire.UserStates, error) bool) {
		request := wire.UsersForStatesRequest{States: states}
		each(yield, func() ([]wire.UserStates, bool, error) {
			answer, err := c.ask(ctx, wire.UsersForStates, request.Append(nil))
			if err != nil {
				return nil, false, err
			}
			page, err := wire.DecodeUsersForStatesAnswer(answer)
			if err != nil || page.Next.IsZero() {
				return page.Users, false, err
			}
			if page.Next == request.After && isBehind(request.AfterStates, page.NextStates) {
				return nil, false, errStuck
			}
			request.After, request.AfterStates = page.Next, page.NextStates
			return page.Users, true, nil
		})
	}
}

// isBehind reports whether next leaves no more of a recipient's states to come than
// after did: 0 stands for none of them.
func isBehind(after, next int) bool { return after == 0 || next != 0 && next <= after }
