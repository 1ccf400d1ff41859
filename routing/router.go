package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// Router decides who receives whose presence, on top of what the homeserver does
// by itself (Synapse, synapse/events/presence_router.py). Its two answers are
// complementary: who receives a state of a user is interested in that user, and
// the other way round. Both methods are called by several goroutines at once, and
// return soon after ctx is done.
type Router interface {
	// UsersForStates maps recipients to the states each should receive: states of
	// the batch, altered copies of them, or states made up. The order of a
	// recipient's states does not matter. states is shared: do not modify it. The
	// answer is only read; do not modify it once it is returned.
	UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error)

	// InterestedUsers returns whose presence userID may see.
	InterestedUsers(ctx context.Context, userID presence.UserID) (Interest, error)
}

// Callbacks makes a Router of two functions, as a Synapse module registers them.
type Callbacks struct {
	UsersForStates  func(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error)
	InterestedUsers func(ctx context.Context, userID presence.UserID) (Interest, error)
}

// ErrMissingCallback is wrapped by the error that Callbacks.Router returns.
var ErrMissingCallback = errors.New("missing callback")

// Router returns the router that calls the two functions, or an error wrapping
// ErrMissingCallback that names those that are nil.
func (c Callbacks) Router() (Router, error) {
	if missing := c.missing(); len(missing) > 0 {
		return nil, fmt.Errorf("%w %s: a router needs both", ErrMissingCallback, strings.Join(missing, " and "))
	}
	return callbackRouter{c}, nil
}

func (c Callbacks) missing() []string {
	var missing []string
	if c.UsersForStates == nil {
		missing = append(missing, "UsersForStates")
	}
	if c.InterestedUsers == nil {
		missing = append(missing, "InterestedUsers")
	}
	return missing
}

type callbackRouter struct{ callbacks Callbacks }

func (r callbackRouter) UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	return r.callbacks.UsersForStates(ctx, states)
}

func (r callbackRouter) InterestedUsers(ctx context.Context, userID presence.UserID) (Interest, error) {
	return r.callbacks.InterestedUsers(ctx, userID)
}
