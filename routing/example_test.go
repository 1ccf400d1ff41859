package routing_test

import (
	"context"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Alice receives everything that Bob publishes.
func ExampleDispatcher() {
	alice, bob := presence.MustUserID("@alice:example.com"), presence.MustUserID("@bob:example.com")
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
			routed := make(map[presence.UserID][]presence.UserState)
			for _, s := range states {
				if s.UserID == bob {
					routed[alice] = append(routed[alice], s)
				}
			}
			return routed, nil
		},
		InterestedUsers: func(_ context.Context, userID presence.UserID) (routing.Interest, error) {
			if userID == alice {
				return routing.Users(bob), nil
			}
			return routing.Interest{}, nil
		},
	}.Router()
	if err != nil {
		fmt.Println(err)
		return
	}
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "friends", Router: router, Timeout: time.Second}})
	if err != nil {
		fmt.Println(err)
		return
	}

	result := dispatcher.UsersForStates(context.Background(), []presence.UserState{
		{UserID: bob, State: presence.Online},
		{UserID: alice, State: presence.Busy},
		{UserID: bob, State: presence.Offline},
	})
	for _, r := range result.Recipients {
		for _, s := range r.States {
			fmt.Println(r.UserID, "is told that", s.UserID, "is", s.State, "by", r.Routers())
		}
	}
	interest, err := dispatcher.InterestedUsers(context.Background(), alice)
	fmt.Println(interest.Interest.Users(), err)
	// Output:
	// @alice:example.com is told that @bob:example.com is online by [friends]
	// @alice:example.com is told that @bob:example.com is offline by [friends]
	// [@bob:example.com] <nil>
}

// A module that registers one of the two callbacks is refused.
func ExampleCallbacks_Router() {
	_, err := routing.Callbacks{
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil },
	}.Router()
	fmt.Println(err)
	// Output: missing callback UsersForStates: a router needs both
}

func ExampleUnion() {
	alice, bob := presence.MustUserID("@alice:example.com"), presence.MustUserID("@bob:example.com")
	union := routing.Union(routing.Users(bob), routing.Users(alice, bob))
	fmt.Println(union.Users(), union.IsAll())
	fmt.Println(routing.Union(union, routing.All()).IsAll())
	// Output:
	// [@alice:example.com @bob:example.com] false
	// true
}
