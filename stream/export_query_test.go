package stream //nolint:testpackage // Exports the answers to queries to the tests.

import (
	"context"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// UsersForStates returns a function that appends the answer to a request of
// users_for_states, as a worker makes it.
func UsersForStates(dispatcher *routing.Dispatcher) func(ctx context.Context, dst, request []byte) ([]byte, error) {
	a := &answerer{
		dispatcher: dispatcher, isLocal: func(presence.ServerName) bool { return true },
		maxUpdate: DefaultStreamsConfig().Updates.MaxUpdateBytes, maxAnswer: 1 << 20,
	}
	return a.usersForStates
}
