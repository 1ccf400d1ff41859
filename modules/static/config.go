// Package static is the module that routes presence by a list in its
// configuration.
package static

import (
	"errors"
	"fmt"
	"slices"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
)

// Config is the configuration of the module.
type Config struct {
	Routes []Route `yaml:"routes"` // may be empty, but not nil
}

// Route says that each of Recipients receives the presence of each of Users.
type Route struct {
	Recipients []presence.UserID `yaml:"recipients"` // at least one
	Users      []presence.UserID `yaml:"users"`      // at least one
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c Config) Validate() error {
	if c.Routes == nil {
		return &fault.Field{Path: "routes", Bound: "a list of routes, [] for none"}
	}
	var faults []error
	for i, route := range c.Routes {
		if err := route.validate(); err != nil {
			faults = append(faults, fault.Under(fmt.Sprintf("routes[%d]", i), err))
		}
	}
	return errors.Join(faults...)
}

// Undeliverable returns the joined errors, each a *fault.Field, about routes of which
// nothing is ever delivered: presence of users of other servers goes to local users
// only, and nobody in them is one.
func (c Config) Undeliverable(isLocal func(presence.UserID) bool) error {
	var faults []error
	for i, route := range c.Routes {
		if !slices.ContainsFunc(route.Users, isLocal) && !slices.ContainsFunc(route.Recipients, isLocal) {
			faults = append(faults, &fault.Field{
				Path: fmt.Sprintf("routes[%d]", i), Err: errors.New("nobody in it is of server_names, so nothing of it is ever delivered"),
			})
		}
	}
	return errors.Join(faults...)
}

func (r Route) validate() error {
	return errors.Join(
		checkUsers("recipients", r.Recipients),
		checkUsers("users", r.Users),
	)
}

func checkUsers(path string, users []presence.UserID) error {
	const bound = "at least one user ID"
	switch {
	case users == nil:
		return &fault.Field{Path: path, Bound: bound}
	case len(users) == 0:
		return &fault.Field{Path: path, Value: users, Bound: bound}
	}
	var faults []error
	for i, user := range users {
		if user.IsZero() {
			faults = append(faults, &fault.Field{Path: fmt.Sprintf("%s[%d]", path, i), Value: "", Bound: "a user ID"})
		}
	}
	return errors.Join(faults...)
}
