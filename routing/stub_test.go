package routing_test

import (
	"context"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// routes is what a router answers.
type routes = map[presence.UserID][]presence.UserState

// stub is a router of two functions; one that is nil answers nobody.
type stub struct {
	route    func(context.Context, []presence.UserState) (routes, error)
	interest func(context.Context, presence.UserID) (routing.Interest, error)
}

func (s stub) UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	if s.route == nil {
		return nil, nil
	}
	return s.route(ctx, states)
}

func (s stub) InterestedUsers(ctx context.Context, userID presence.UserID) (routing.Interest, error) {
	if s.interest == nil {
		return routing.Interest{}, nil
	}
	return s.interest(ctx, userID)
}

// interestRouter answers every question about interest with i.
func interestRouter(i routing.Interest) routing.Router {
	return stub{interest: func(context.Context, presence.UserID) (routing.Interest, error) { return i, nil }}
}

// routesRouter answers every batch with r.
func routesRouter(r routes) routing.Router {
	return stub{route: func(context.Context, []presence.UserState) (routes, error) { return r, nil }}
}
