package client

import (
	"context"
	"errors"
	"iter"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// pageUsers is how many users a page may hold; the largest message of the server
// may allow fewer.
const pageUsers = 10_000

// ErrBecameAll is yielded where a user could see the presence of some when the
// first page was asked for, and may see that of all by now: ask again.
var ErrBecameAll = errors.New("the user may see the presence of all users by now")

// Interest is whose presence a user may see.
type Interest struct {
	All bool // everybody's: there is no list

	client *Client
	user   presence.UserID
	first  wire.InterestedUsersAnswer
}

// InterestedUsers asks whose presence user may see. Errors are as for every query:
// a *wire.QueryError is what a worker answered, with a code and a sentence;
// nats.ErrNoResponders means that no worker is there, ErrNoAnswer that one is, or
// was, and does not answer.
func (c *Client) InterestedUsers(ctx context.Context, user presence.UserID) (*Interest, error) {
	first, err := c.interestedUsers(ctx, user, presence.UserID{})
	if err != nil {
		return nil, err
	}
	return &Interest{All: first.AllUsers, client: c, user: user, first: first}, nil
}

// Users yields the users in order, each once, and an error at most as the last. It
// holds one page in memory and asks for the next one when that is used up, so that
// who stops early spares the rest.
func (i *Interest) Users(ctx context.Context) iter.Seq2[presence.UserID, error] {
	return func(yield func(presence.UserID, error) bool) {
		page, after := i.first, presence.UserID{}
		each(yield, func() ([]presence.UserID, bool, error) {
			if !after.IsZero() {
				var err error
				if page, err = i.page(ctx, after); err != nil {
					return nil, false, err
				}
			}
			more, err := turn(&after, page.Next)
			return page.Users, more, err
		})
	}
}

func (i *Interest) page(ctx context.Context, after presence.UserID) (wire.InterestedUsersAnswer, error) {
	page, err := i.client.interestedUsers(ctx, i.user, after)
	if err == nil && page.AllUsers {
		err = ErrBecameAll
	}
	return page, err
}

func (c *Client) interestedUsers(ctx context.Context, user, after presence.UserID) (wire.InterestedUsersAnswer, error) {
	request := wire.InterestedUsersRequest{UserID: user, Limit: pageUsers, After: after}
	answer, err := c.ask(ctx, wire.InterestedUsers, request.Append(nil))
	if err != nil {
		return wire.InterestedUsersAnswer{}, err
	}
	return wire.DecodeInterestedUsersAnswer(answer)
}
