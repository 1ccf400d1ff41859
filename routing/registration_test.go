package routing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestCallbacksNeedBoth(t *testing.T) {
	route := func(context.Context, []presence.UserState) (routes, error) { return nil, nil }
	interest := func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil }
	for _, tt := range []struct {
		name      string
		callbacks routing.Callbacks
		missing   []string
	}{
		{name: "both", callbacks: routing.Callbacks{UsersForStates: route, InterestedUsers: interest}},
		{name: "first alone", callbacks: routing.Callbacks{UsersForStates: route}, missing: []string{"InterestedUsers"}},
		{name: "second alone", callbacks: routing.Callbacks{InterestedUsers: interest}, missing: []string{"UsersForStates"}},
		{name: "neither", missing: []string{"UsersForStates", "InterestedUsers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			router, err := tt.callbacks.Router()
			if len(tt.missing) == 0 {
				if err != nil || router == nil {
					t.Fatalf("Router() = %v, %v, want a router", router, err)
				}
				return
			}
			if !errors.Is(err, routing.ErrMissingCallback) || router != nil {
				t.Fatalf("Router() = %v, %v, want no router and ErrMissingCallback", router, err)
			}
			for _, missing := range tt.missing {
				if !strings.Contains(err.Error(), missing) {
					t.Errorf("error %q does not name %s", err, missing)
				}
			}
		})
	}
}

func TestCallbacksAreCalled(t *testing.T) {
	bob := id("@bob:example.com")
	states := []presence.UserState{{UserID: bob, State: presence.Online}}
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, in []presence.UserState) (routes, error) {
			return routes{bob: in}, errors.New("first")
		},
		InterestedUsers: func(_ context.Context, user presence.UserID) (routing.Interest, error) {
			return routing.Users(user), errors.New("second")
		},
	}.Router()
	if err != nil {
		t.Fatalf("Router: %v", err)
	}
	if got, err := router.UsersForStates(t.Context(), states); len(got[bob]) != 1 || err == nil || err.Error() != "first" {
		t.Errorf("UsersForStates = %v, %v, want what the callback returned", got, err)
	}
	if got, err := router.InterestedUsers(t.Context(), bob); !got.Contains(bob) || err == nil || err.Error() != "second" {
		t.Errorf("InterestedUsers = %v, %v, want what the callback returned", got.Users(), err)
	}
}

func TestNewDispatcherValidates(t *testing.T) {
	good := routing.Registration{Name: "static", Router: stub{}, Timeout: time.Second}
	with := func(change func(*routing.Registration)) []routing.Registration {
		changed := good
		changed.Name = "changed"
		change(&changed)
		return []routing.Registration{good, changed}
	}
	for _, tt := range []struct {
		name string
		in   []routing.Registration
		want []string // paths of the faults
	}{
		{name: "none"},
		{name: "one", in: []routing.Registration{good}},
		{name: "64", in: many(64)},
		{name: "65", in: many(65), want: []string{"registrations"}},
		{name: "no name", in: with(func(r *routing.Registration) { r.Name = "" }), want: []string{"registrations[1].name"}},
		{name: "same name", in: with(func(r *routing.Registration) { r.Name = "static" }), want: []string{"registrations[1].name"}},
		{name: "no router", in: with(func(r *routing.Registration) { r.Router = nil }), want: []string{"registrations[1].router"}},
		{name: "no timeout", in: with(func(r *routing.Registration) { r.Timeout = 0 }), want: []string{"registrations[1].timeout"}},
		{name: "negative timeout", in: with(func(r *routing.Registration) { r.Timeout = -1 }), want: []string{"registrations[1].timeout"}},
		{name: "every policy", in: with(func(r *routing.Registration) { r.OnError = routing.DeadLetter })},
		{name: "unknown policy", in: with(func(r *routing.Registration) { r.OnError = "ignore" }), want: []string{"registrations[1].on_error"}},
		{name: "all at once", in: []routing.Registration{{}, {OnError: "x"}}, want: []string{
			"registrations[0].name", "registrations[0].router", "registrations[0].timeout",
			"registrations[1].name", "registrations[1].router", "registrations[1].timeout", "registrations[1].on_error",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := routing.NewDispatcher(tt.in)
			if got := paths(err); strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("faults at %v, want %v; error: %v", got, tt.want, err)
			}
			if (d == nil) != (err != nil) {
				t.Errorf("NewDispatcher = %v, %v, want one of them", d, err)
			}
		})
	}
}

func many(n int) []routing.Registration {
	registrations := make([]routing.Registration, n)
	for i := range registrations {
		registrations[i] = routing.Registration{Name: fmt.Sprintf("r%d", i), Router: stub{}, Timeout: time.Second}
	}
	return registrations
}

func paths(err error) []string {
	var paths []string
	for _, f := range fault.Fields(err) {
		paths = append(paths, f.Path)
	}
	return paths
}
