// Package static is the module that routes presence by a list in its
// configuration.
package static

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
)

// The keys of the configuration, which are those of a file of routes as well.
const (
	routesKey     = "routes"
	routesFileKey = "routes_file"
	recipientsKey = "recipients"
	usersKey      = "users"
)

// atLeastOne is what a side of a route has to hold.
const atLeastOne = "at least one user ID"

// Config is the configuration of the module: routes, a file of them, or both.
type Config struct {
	Routes     []Route `yaml:"routes"`      // may be empty; nil only beside RoutesFile
	RoutesFile string  `yaml:"routes_file"` // path of a file with the JSON of a route in each line; none if empty

	file *routesFile // nil until RoutesFile is read
}

// Route says that each of Recipients receives the presence of each of Users.
type Route struct {
	Recipients []presence.UserID `yaml:"recipients"` // at least one
	Users      []presence.UserID `yaml:"users"`      // at least one
}

// Validate returns nil or the joined faults, each a *fault.Field. It does not read
// RoutesFile.
func (c Config) Validate() error {
	if c.Routes == nil && c.RoutesFile == "" {
		return &fault.Field{Path: routesKey, Bound: "a list of routes, [] for none, or " + routesFileKey}
	}
	var faults []error
	for i, route := range c.Routes {
		if err := route.validate(); err != nil {
			faults = append(faults, fault.Under(fmt.Sprintf("%s[%d]", routesKey, i), err))
		}
	}
	return errors.Join(faults...)
}

// everything returns the routes of Routes, then those of RoutesFile.
func (c Config) everything() []Route {
	switch {
	case c.file == nil:
		return c.Routes
	case len(c.Routes) == 0:
		return c.file.routes
	default:
		return slices.Concat(c.Routes, c.file.routes)
	}
}

// NamedUsers yields the users on both sides of the routes, as often as they stand
// there.
func (c Config) NamedUsers() iter.Seq[presence.UserID] {
	return func(yield func(presence.UserID) bool) {
		for _, route := range c.everything() {
			for _, side := range [][]presence.UserID{route.Recipients, route.Users} {
				for _, user := range side {
					if !yield(user) {
						return
					}
				}
			}
		}
	}
}

// Undeliverable yields routes of which nothing is ever delivered: presence of users of
// other servers goes to local users only, and nobody in them is one.
func (c Config) Undeliverable(isLocal func(presence.UserID) bool) iter.Seq[*fault.Field] {
	return func(yield func(*fault.Field) bool) {
		for i, route := range c.everything() {
			if slices.ContainsFunc(route.Users, isLocal) || slices.ContainsFunc(route.Recipients, isLocal) {
				continue
			}
			field := &fault.Field{
				Path: fmt.Sprintf("%s[%d]", routesKey, i),
				Err:  errors.New("nobody in it is of server_names, so nothing of it is ever delivered"),
			}
			if line := i + 1 - len(c.Routes); line > 0 {
				field.Path = routesFileKey
				field.Err = fmt.Errorf("nobody in line %d is of server_names, so nothing of it is ever delivered", line)
			}
			if !yield(field) {
				return
			}
		}
	}
}

func (r Route) validate() error {
	return errors.Join(
		checkUsers(recipientsKey, r.Recipients),
		checkUsers(usersKey, r.Users),
	)
}

func checkUsers(path string, users []presence.UserID) error {
	switch {
	case users == nil:
		return &fault.Field{Path: path, Bound: atLeastOne}
	case len(users) == 0:
		return &fault.Field{Path: path, Value: users, Bound: atLeastOne}
	}
	var faults []error
	for i, user := range users {
		if user.IsZero() {
			faults = append(faults, &fault.Field{Path: fmt.Sprintf("%s[%d]", path, i), Value: "", Bound: "a user ID"})
		}
	}
	return errors.Join(faults...)
}
