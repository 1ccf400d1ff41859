// Package broadcast is the module that gives the presence of everybody to a few
// users.
package broadcast

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Config is the configuration of the module.
type Config struct {
	Users []presence.UserID `yaml:"users_who_should_receive_all_presence"` // at least one
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	const path, bound = "users_who_should_receive_all_presence", "at least one user ID"
	switch {
	case c.Users == nil:
		return &fault.Field{Path: path, Bound: bound}
	case len(c.Users) == 0:
		return &fault.Field{Path: path, Value: c.Users, Bound: bound}
	}
	var faults []error
	for i, user := range c.Users {
		if user.IsZero() {
			faults = append(faults, &fault.Field{Path: fmt.Sprintf("%s[%d]", path, i), Value: "", Bound: "a user ID"})
		}
	}
	return errors.Join(faults...)
}

// Router gives every state to each of its users. It is immutable and safe for
// concurrent use.
type Router struct {
	users map[presence.UserID]bool
}

// New returns the router of a valid config, or the error of Config.Validate.
func New(config Config) (*Router, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("check config of broadcast: %w", err)
	}
	users := make(map[presence.UserID]bool, len(config.Users))
	for _, user := range config.Users {
		users[user] = true
	}
	return &Router{users: users}, nil
}

// UsersForStates gives all of states, not copied, to every user of the config.
// The only error is that of ctx.
func (r *Router) UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	if len(states) == 0 {
		return map[presence.UserID][]presence.UserState{}, nil
	}
	given := make(map[presence.UserID][]presence.UserState, len(r.users))
	for user := range r.users {
		given[user] = slices.Clip(states)
	}
	return given, nil
}

// InterestedUsers returns everybody for a user of the config, nobody for others.
// The only error is that of ctx.
func (r *Router) InterestedUsers(ctx context.Context, userID presence.UserID) (routing.Interest, error) {
	if err := ctx.Err(); err != nil {
		return routing.Interest{}, fmt.Errorf("look up interest: %w", err)
	}
	if !r.users[userID] {
		return routing.Interest{}, nil
	}
	return routing.All(), nil
}
