package route_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

const (
	alice = "@alice:example.com"
	bob   = "@bob:example.com"
	carol = "@carol:example.com"

	eventTimeout = time.Minute
)

type (
	states = []presence.UserState
	answer = map[presence.UserID][]presence.UserState
)

// update returns an update of user that differs from others in mark.
func update(user string, mark int) string {
	return fmt.Sprintf(`{"user_id":%q, "state":"online","last_active_ts":%d}`, user, 1000+mark)
}

// marks returns last_active_ts of each state, less what update adds to its mark.
func marks(s states) []int64 {
	var found []int64
	for _, state := range s {
		found = append(found, state.LastActive-1000)
	}
	return found
}

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

func toDave(batch states) answer {
	return answer{presence.MustUserID(dave): batch}
}

// besides returns the registrations of a router under test, and of one that works.
func besides(t *testing.T, policy routing.Policy, f func(context.Context, states) (answer, error)) []routing.Registration {
	t.Helper()
	return []routing.Registration{
		{Name: "picky", Router: routerOf(t, f), Timeout: eventTimeout, OnError: policy},
		{Name: "static", Router: toEach(t, alice), Timeout: eventTimeout},
	}
}

// toEach returns a router that sends everything to one recipient.
func toEach(t *testing.T, recipient string) routing.Router {
	t.Helper()
	to := presence.MustUserID(recipient)
	return routerOf(t, func(_ context.Context, s states) (answer, error) { return answer{to: s}, nil })
}
