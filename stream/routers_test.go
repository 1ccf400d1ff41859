package stream_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

type (
	states = []presence.UserState
	answer = map[presence.UserID][]presence.UserState
)

// routerOf makes a router of one callback; nobody is interested in anybody.
func routerOf(t *testing.T, usersForStates func(context.Context, states) (answer, error)) routing.Router {
	t.Helper()
	r, err := routing.Callbacks{
		UsersForStates: usersForStates,
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Users(), nil
		},
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// toEach returns a router that sends everything to each of recipients.
func toEach(t *testing.T, recipients ...string) routing.Router {
	t.Helper()
	var ids []presence.UserID
	for _, r := range recipients {
		ids = append(ids, presence.MustUserID(r))
	}
	return routerOf(t, func(_ context.Context, s states) (answer, error) { return everybody(ids, s), nil })
}

func everybody(recipients []presence.UserID, s states) answer {
	a := make(answer, len(recipients))
	for _, r := range recipients {
		a[r] = s
	}
	return a
}

// readers returns the IDs of n local users, in order.
func readers(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("@reader%05d:example.com", i)
	}
	return ids
}

// marks returns last_active_ts of each state, less what update adds to its mark.
func marks(s states) []int64 {
	var found []int64
	for _, state := range s {
		found = append(found, state.LastActive-1000)
	}
	return found
}
