package query

import (
	"context"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// UsersForStates returns a function that appends the answer to a request of
// users_for_states, as a worker makes it.
func UsersForStates(dispatcher *routing.Dispatcher) func(ctx context.Context, dst, request []byte) ([]byte, error) {
	a := &answerer{
		dispatcher: dispatcher, isLocal: func(presence.ServerName) bool { return true },
		maxUpdate: 64 << 10, maxAnswer: 1 << 20,
	}
	return a.usersForStates
}

// RepliesTo returns a function that reports whether a worker answers to a subject,
// whose connection has that inbox prefix.
func RepliesTo(inbox string, config Config) (func(subject string) bool, error) {
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		return nil, err
	}
	allowed, err := newReplies(inbox, config, subjects)
	return func(subject string) bool {
		_, ok := allowed.check(subject)
		return ok
	}, err
}
