package static_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestConfigValidate(t *testing.T) {
	alice := presence.MustUserID("@alice:example.com")
	tests := []struct {
		name   string
		config static.Config
		want   []string
	}{
		{"routes is missing", static.Config{}, []string{"routes is missing: want a list of routes, [] for none, or routes_file"}},
		{"no routes", static.Config{Routes: []static.Route{}}, nil},
		{
			"every route without a side",
			static.Config{Routes: []static.Route{
				{Recipients: []presence.UserID{alice}, Users: []presence.UserID{}},
				{Recipients: []presence.UserID{alice}, Users: []presence.UserID{alice}},
				{Users: []presence.UserID{alice, {}}},
			}},
			[]string{
				"routes[0].users is []: want at least one user ID",
				"routes[2].recipients is missing: want at least one user ID",
				`routes[2].users[1] is "": want a user ID`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.config.Validate(); err != nil {
				got = err.Error()
			}
			if want := strings.Join(tt.want, "\n"); got != want {
				t.Errorf("Validate() = %q, want %q", got, want)
			}
		})
	}
}

func TestNewRefusesInvalidConfig(t *testing.T) {
	if router, err := static.New(static.Config{}); err == nil {
		t.Errorf("New(Config{}) = %v, nil, want an error", router)
	}
}

func Example() {
	router, err := static.New(static.Config{Routes: []static.Route{{
		Recipients: []presence.UserID{presence.MustUserID("@alice:example.com")},
		Users:      []presence.UserID{presence.MustUserID("@bob:example.com"), presence.MustUserID("@charlie:somewhere.org")},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	given, _ := router.UsersForStates(ctx, []presence.UserState{
		{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online},
		{UserID: presence.MustUserID("@dave:example.com"), State: presence.Online},
	})
	for recipient, states := range given {
		fmt.Println(recipient, "receives", len(states), "state, of", states[0].UserID)
	}
	interest, _ := router.InterestedUsers(ctx, presence.MustUserID("@alice:example.com"))
	fmt.Println("@alice:example.com sees", interest.Users())
	// Output:
	// @alice:example.com receives 1 state, of @bob:example.com
	// @alice:example.com sees [@bob:example.com @charlie:somewhere.org]
}

// BenchmarkUsersForStates routes batches of 256; ns/op is per batch, ns/update
// says the rest.
func BenchmarkUsersForStates(b *testing.B) {
	for _, routes := range []int{100, 100_000} {
		for _, recipients := range []int{1, 10} {
			b.Run(fmt.Sprintf("routes=%d/recipients=%d", routes, recipients), func(b *testing.B) {
				benchmarkRoutes(b, routes, recipients)
			})
		}
	}
}

func benchmarkRoutes(b *testing.B, routes, recipients int) {
	b.Helper()
	config := static.Config{}
	for i := range routes {
		route := static.Route{Users: []presence.UserID{presence.MustUserID(fmt.Sprintf("@user%d:example.com", i))}}
		for k := range recipients {
			route.Recipients = append(route.Recipients, presence.MustUserID(fmt.Sprintf("@recipient%d:example.com", (i+k)%routes)))
		}
		config.Routes = append(config.Routes, route)
	}
	router := newRouter(b, config.Routes...)
	states := make([]presence.UserState, 256)
	for i := range states {
		states[i] = presence.UserState{UserID: config.Routes[i*7919%routes].Users[0], State: presence.Online}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := router.UsersForStates(b.Context(), states); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(states)), "ns/update")
}

// BenchmarkUsersForStatesFanIn gives all 256 states to ten recipients.
func BenchmarkUsersForStatesFanIn(b *testing.B) {
	route := static.Route{}
	states := make([]presence.UserState, 256)
	for i := range states {
		user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", i))
		route.Users = append(route.Users, user)
		states[i] = presence.UserState{UserID: user, State: presence.Online}
	}
	for k := range 10 {
		route.Recipients = append(route.Recipients, presence.MustUserID(fmt.Sprintf("@recipient%d:example.com", k)))
	}
	router := newRouter(b, route)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := router.UsersForStates(b.Context(), states); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	config := static.Config{}
	for i := range 100_000 {
		config.Routes = append(config.Routes, route(fmt.Sprintf("@recipient%d:example.com", i), fmt.Sprintf("@user%d:example.com", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		newRouter(b, config.Routes...)
	}
}

func userIDs(text string) []presence.UserID {
	var ids []presence.UserID
	for id := range strings.FieldsSeq(text) {
		ids = append(ids, presence.MustUserID(id))
	}
	return ids
}

func statesOf(users string) []presence.UserState {
	var states []presence.UserState
	for _, user := range userIDs(users) {
		states = append(states, presence.UserState{UserID: user, State: presence.Online})
	}
	return states
}

func names(given map[presence.UserID][]presence.UserState) map[string]string {
	named := make(map[string]string, len(given))
	for recipient, states := range given {
		var users []string
		for _, s := range states {
			users = append(users, s.UserID.String())
		}
		named[recipient.String()] = strings.Join(users, " ")
	}
	return named
}
