package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/modules/broadcast"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest"
)

func TestRouterKeepsTheContract(t *testing.T) {
	routingtest.Test(t, newRouter(t, "@presence_gobbler:example.com", "@archive:example.com"))
}

func TestUsersForStatesGivesEverythingToTheListed(t *testing.T) {
	states := routingtest.SampleStates()
	router := newRouter(t, "@a:e.org", "@b:e.org", "@a:e.org")
	given, err := router.UsersForStates(t.Context(), states)
	if err != nil || len(given) != 2 {
		t.Fatalf("UsersForStates gives to %d users, %v, want 2", len(given), err)
	}
	for recipient, got := range given {
		if !slices.Equal(got, states) {
			t.Errorf("UsersForStates gives %v to %s, want all of %v", got, recipient, states)
		}
	}
}

func TestUsersForStatesOfNone(t *testing.T) {
	given, err := newRouter(t, "@a:e.org").UsersForStates(t.Context(), nil)
	if err != nil || len(given) != 0 {
		t.Errorf("UsersForStates(none) = %v, %v, want no recipients", given, err)
	}
}

func TestInterestedUsers(t *testing.T) {
	tests := []struct {
		name string
		user string
		all  bool
	}{
		{"listed", "@a:e.org", true},
		{"not listed", "@b:e.org", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			interest, err := newRouter(t, "@a:e.org").InterestedUsers(t.Context(), presence.MustUserID(tt.user))
			if err != nil || interest.IsAll() != tt.all || len(interest.Users()) != 0 {
				t.Errorf("InterestedUsers(%s) = all %t, users %v, %v, want all %t and no users",
					tt.user, interest.IsAll(), interest.Users(), err, tt.all)
			}
		})
	}
}

func TestRouterObeysContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	router := newRouter(t, "@a:e.org")
	if _, err := router.UsersForStates(ctx, routingtest.SampleStates()); !errors.Is(err, context.Canceled) {
		t.Errorf("UsersForStates with a cancelled context: %v, want context.Canceled", err)
	}
	if _, err := router.InterestedUsers(ctx, presence.MustUserID("@a:e.org")); !errors.Is(err, context.Canceled) {
		t.Errorf("InterestedUsers with a cancelled context: %v, want context.Canceled", err)
	}
}

func TestNewRefusesInvalidConfig(t *testing.T) {
	const key = "users_who_should_receive_all_presence"
	tests := []struct {
		name  string
		users []presence.UserID
		want  string
	}{
		{"missing", nil, key + " is missing: want at least one user ID"},
		{"empty", []presence.UserID{}, key + " is []: want at least one user ID"},
		{"zero user ID", make([]presence.UserID, 1), key + `[0] is "": want a user ID`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := broadcast.New(broadcast.Config{Users: tt.users})
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("New(%v) error = %v, want %q", tt.users, err, tt.want)
			}
		})
	}
}

func Example() {
	router, err := broadcast.New(broadcast.Config{
		Users: []presence.UserID{presence.MustUserID("@presence_gobbler:example.com")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	given, _ := router.UsersForStates(ctx, []presence.UserState{
		{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online},
	})
	for recipient, states := range given {
		fmt.Println(recipient, "receives", len(states), "state, of", states[0].UserID)
	}
	interest, _ := router.InterestedUsers(ctx, presence.MustUserID("@presence_gobbler:example.com"))
	fmt.Println("sees everybody:", interest.IsAll())
	// Output:
	// @presence_gobbler:example.com receives 1 state, of @bob:example.com
	// sees everybody: true
}

func BenchmarkUsersForStates(b *testing.B) {
	for _, users := range []int{1, 10} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			var ids []string
			for i := range users {
				ids = append(ids, fmt.Sprintf("@user%d:example.com", i))
			}
			router := newRouter(b, ids...)
			states := make([]presence.UserState, 256)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := router.UsersForStates(b.Context(), states); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func newRouter(tb testing.TB, users ...string) routing.Router {
	tb.Helper()
	config := broadcast.Config{}
	for _, user := range users {
		config.Users = append(config.Users, presence.MustUserID(user))
	}
	router, err := broadcast.New(config)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return router
}
