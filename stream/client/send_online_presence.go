package client

import (
	"context"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// SendOnlinePresence has the present states of those whose presence each of users
// may see delivered to them, as Synapse's send_local_online_presence_to does, and
// returns how many states each was sent. Where it returns an error, those that it
// returns were sent theirs; asking again sends them once more, which a reader that
// keeps the newest state per user does not notice.
func (c *Client) SendOnlinePresence(ctx context.Context, users []presence.UserID) ([]wire.SentStates, error) {
	var sent []wire.SentStates
	for part := range slices.Chunk(users, wire.MaxQueryUsers) {
		request := wire.SendOnlinePresenceRequest{Users: part}
		for user, err := range c.sendOnlinePresence(ctx, request) {
			if err != nil {
				return sent, err
			}
			sent = append(sent, user)
		}
	}
	return sent, nil
}

func (c *Client) sendOnlinePresence(ctx context.Context, request wire.SendOnlinePresenceRequest) func(func(wire.SentStates, error) bool) {
	return func(yield func(wire.SentStates, error) bool) {
		each(yield, func() ([]wire.SentStates, bool, error) {
			answer, err := c.ask(ctx, wire.SendOnlinePresence, request.Append(nil))
			if err != nil {
				return nil, false, err
			}
			page, err := wire.DecodeSendOnlinePresenceAnswer(answer)
			if err != nil {
				return nil, false, err
			}
			more, err := turn(&request.After, page.Next)
			return page.Users, more, err
		})
	}
}
