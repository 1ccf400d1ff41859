package vectors

import (
	"context"
	"errors"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Module is what a module of Synapse does when it is asked.
type Module struct {
	UsersForStates  usersForStates  `json:"users_for_states"`
	InterestedUsers interestedUsers `json:"interested_users"`
}

type usersForStates struct {
	Returns   map[presence.UserID][]int `json:"returns"`
	Raises    bool                      `json:"raises"`
	WrongType bool                      `json:"wrong_type"`
}

type interestedUsers struct {
	Users     []presence.UserID `json:"users"`
	All       bool              `json:"all"`
	Raises    bool              `json:"raises"`
	WrongType bool              `json:"wrong_type"`
}

var errRaised = errors.New("the module raised")

// Router is the module in Go, where a wrong type can only be an error. It calls
// asked each time that it is asked for an interest.
func (m Module) Router(asked func()) routing.Router { return router{Module: m, asked: asked} }

type router struct {
	Module

	asked func()
}

// UsersForStates returns what the module returns.
func (r router) UsersForStates(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	m := r.Module.UsersForStates
	if m.Raises || m.WrongType {
		return nil, errRaised
	}
	routed := make(map[presence.UserID][]presence.UserState)
	for recipient, chosen := range m.Returns {
		routed[recipient] = []presence.UserState{}
		for _, i := range chosen {
			routed[recipient] = append(routed[recipient], states[i])
		}
	}
	return routed, nil
}

// InterestedUsers returns what the module returns.
func (r router) InterestedUsers(context.Context, presence.UserID) (routing.Interest, error) {
	r.asked()
	m := r.Module.InterestedUsers
	switch {
	case m.Raises || m.WrongType:
		return routing.Interest{}, errRaised
	case m.All:
		return routing.All(), nil
	default:
		return routing.Users(m.Users...), nil
	}
}
