package static_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest"
)

func TestRouterKeepsTheContract(t *testing.T) {
	routingtest.Test(t, newRouter(t,
		route("@alice:example.com", "@bob:example.com", "@charlie:somewhere.org"),
		route("@bob:example.com @alice:example.com", "@alice:example.com", "@bob:example.com"),
		route("@dave:example.com", "@jo.ann:[2001:db8::1]:8448", "@presence_gobbler:example.com"),
	))
}

func TestUsersForStates(t *testing.T) {
	tests := []struct {
		name   string
		routes []static.Route
		users  string // whose states come in, in this order
		want   map[string]string
	}{
		{"nobody is listed", nil, "@bob:e.org", map[string]string{}},
		{"no states", []static.Route{route("@a:e.org", "@bob:e.org")}, "", map[string]string{}},
		{
			"others are left out",
			[]static.Route{route("@a:e.org", "@bob:e.org")},
			"@carl:e.org @bob:e.org @carl:e.org",
			map[string]string{"@a:e.org": "@bob:e.org"},
		},
		{
			"one user in two routes reaches a common recipient once",
			[]static.Route{route("@a:e.org @b:e.org", "@x:e.org"), route("@b:e.org @c:e.org", "@x:e.org", "@y:e.org")},
			"@x:e.org",
			map[string]string{"@a:e.org": "@x:e.org", "@b:e.org": "@x:e.org", "@c:e.org": "@x:e.org"},
		},
		{
			"recipients keep apart what runs of states share",
			[]static.Route{route("@a:e.org @b:e.org", "@x:e.org", "@y:e.org"), route("@b:e.org", "@z:e.org")},
			"@x:e.org @y:e.org @z:e.org @x:e.org @n:e.org @y:e.org",
			map[string]string{
				"@a:e.org": "@x:e.org @y:e.org @x:e.org @y:e.org",
				"@b:e.org": "@x:e.org @y:e.org @z:e.org @x:e.org @y:e.org",
			},
		},
		{
			"repeated IDs count once",
			[]static.Route{route("@a:e.org @a:e.org", "@x:e.org", "@x:e.org")},
			"@x:e.org",
			map[string]string{"@a:e.org": "@x:e.org"},
		},
		{
			"a user may receive the own presence",
			[]static.Route{route("@x:e.org", "@x:e.org")},
			"@x:e.org",
			map[string]string{"@x:e.org": "@x:e.org"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			states := statesOf(tt.users)
			before := slices.Clone(states)
			got, err := newRouter(t, tt.routes...).UsersForStates(t.Context(), states)
			if err != nil {
				t.Fatalf("UsersForStates(%s): %v", tt.users, err)
			}
			if !slices.Equal(states, before) {
				t.Errorf("UsersForStates(%s) changed its input to %v", tt.users, states)
			}
			if named := names(got); fmt.Sprint(named) != fmt.Sprint(tt.want) {
				t.Errorf("UsersForStates(%s) = %v, want %v", tt.users, named, tt.want)
			}
		})
	}
}

func TestInterestedUsers(t *testing.T) {
	router := newRouter(t,
		route("@a:e.org @b:e.org", "@y:e.org", "@x:e.org"),
		route("@b:e.org", "@z:e.org", "@x:e.org"),
	)
	tests := []struct{ name, user, want string }{
		{"in one route", "@a:e.org", "[@x:e.org @y:e.org]"},
		{"in two routes", "@b:e.org", "[@x:e.org @y:e.org @z:e.org]"},
		{"only a user", "@x:e.org", "[]"},
		{"not listed", "@n:e.org", "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			interest, err := router.InterestedUsers(t.Context(), presence.MustUserID(tt.user))
			if got := fmt.Sprint(interest.Users()); err != nil || got != tt.want || interest.IsAll() {
				t.Errorf("InterestedUsers(%s) = %s, all %t, %v, want %s", tt.user, got, interest.IsAll(), err, tt.want)
			}
		})
	}
}

func TestRouterObeysContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	router := newRouter(t, route("@a:e.org", "@x:e.org"))
	if _, err := router.UsersForStates(ctx, statesOf("@x:e.org")); !errors.Is(err, context.Canceled) {
		t.Errorf("UsersForStates with a cancelled context: %v, want context.Canceled", err)
	}
	if _, err := router.InterestedUsers(ctx, presence.MustUserID("@a:e.org")); !errors.Is(err, context.Canceled) {
		t.Errorf("InterestedUsers with a cancelled context: %v, want context.Canceled", err)
	}
}

func newRouter(tb testing.TB, routes ...static.Route) routing.Router {
	tb.Helper()
	router, err := static.New(static.Config{Routes: append([]static.Route{}, routes...)})
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return router
}

// route takes recipients with blanks between them.
func route(recipients string, users ...string) static.Route {
	r := static.Route{Recipients: userIDs(recipients)}
	for _, user := range users {
		r.Users = append(r.Users, presence.MustUserID(user))
	}
	return r
}
