package routing_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

const (
	benchRoutes = 100_000
	benchBatch  = 256
)

// BenchmarkUsersForStates measures one batch of 256 updates: routed by a table of
// 100,000 users with their own recipients each, and to few who receive everything.
func BenchmarkUsersForStates(b *testing.B) {
	for _, recipients := range []int{1, 10} {
		b.Run(fmt.Sprintf("static/recipients=%d", recipients), func(b *testing.B) {
			benchmarkDispatch(b, recipients, newTableRouter(recipients))
		})
	}
	b.Run("static/routers=4/recipients=1", func(b *testing.B) {
		router := newTableRouter(1)
		benchmarkDispatch(b, 1, router, router, router, router)
	})
	b.Run("static/recipients=0", func(b *testing.B) {
		benchmarkDispatch(b, 0, tableRouter{})
	})
	for _, recipients := range []int{10, 1000} {
		b.Run(fmt.Sprintf("fan-in/recipients=%d", recipients), func(b *testing.B) {
			benchmarkDispatch(b, recipients, newFanIn(recipients, unaltered))
		})
	}
	b.Run("fan-in/altered/recipients=10", func(b *testing.B) {
		benchmarkDispatch(b, 10, newFanIn(10, withoutStatus))
	})
}

// benchmarkDispatch reports the cost per update and per pair of recipient and state.
func benchmarkDispatch(b *testing.B, perUpdate int, routers ...routing.Router) {
	b.Helper()
	d := newDispatcher(b, routers...)
	states := benchStates()
	b.ReportAllocs()
	for b.Loop() {
		if result := d.UsersForStates(b.Context(), states); (len(result.Recipients) > 0) != (perUpdate > 0) {
			b.Fatalf("%d recipients", len(result.Recipients))
		}
	}
	perBatch := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(perBatch/benchBatch, "ns/update")
	if perUpdate > 0 {
		b.ReportMetric(perBatch/benchBatch/float64(perUpdate), "ns/pair")
	}
}

// BenchmarkRouterAlone measures what the router of static/recipients=1 costs without
// the Dispatcher.
func BenchmarkRouterAlone(b *testing.B) {
	router := newTableRouter(1)
	states := benchStates()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := router.UsersForStates(b.Context(), states); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchBatch, "ns/update")
}

// BenchmarkInterestedUsers measures the union of two sets of users.
func BenchmarkInterestedUsers(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprintf("users=%d", size), func(b *testing.B) {
			odd, even := make([]presence.UserID, size), make([]presence.UserID, size)
			for i := range size {
				odd[i], even[i] = benchUser(2*i+1), benchUser(2*i)
			}
			d := newDispatcher(b, interestRouter(routing.Users(odd...)), interestRouter(routing.Users(even...)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.InterestedUsers(b.Context(), odd[0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// tableRouter maps users to recipients, as a module with static routes does.
type tableRouter map[presence.UserID][]presence.UserID

func newTableRouter(recipients int) tableRouter {
	table := make(tableRouter, benchRoutes)
	for i := range benchRoutes {
		for k := range recipients {
			table[benchUser(i)] = append(table[benchUser(i)], benchRecipient(i*recipients+k))
		}
	}
	return table
}

func (r tableRouter) UsersForStates(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	routed := make(map[presence.UserID][]presence.UserState, len(states))
	for i := range states {
		for _, recipient := range r[states[i].UserID] {
			routed[recipient] = append(routed[recipient], states[i])
		}
	}
	return routed, nil
}

func (r tableRouter) InterestedUsers(context.Context, presence.UserID) (routing.Interest, error) {
	return routing.Interest{}, nil
}

// newFanIn returns a router that gives a number of recipients everything, changed.
func newFanIn(recipients int, change func([]presence.UserState) []presence.UserState) routing.Router {
	ids := make([]presence.UserID, recipients)
	for i := range ids {
		ids[i] = benchRecipient(i)
	}
	return stub{route: func(_ context.Context, states []presence.UserState) (routes, error) {
		routed := make(routes, recipients)
		changed := change(states)
		for _, id := range ids {
			routed[id] = changed
		}
		return routed, nil
	}}
}

func unaltered(states []presence.UserState) []presence.UserState { return states }

func withoutStatus(states []presence.UserState) []presence.UserState {
	changed := make([]presence.UserState, len(states))
	for i, s := range states {
		s.StatusMsg = presence.StatusMsg{}
		changed[i] = s
	}
	return changed
}

func benchUser(i int) presence.UserID {
	return presence.MustUserID(fmt.Sprintf("@user%06d:example.com", i))
}

func benchRecipient(i int) presence.UserID {
	return presence.MustUserID(fmt.Sprintf("@recipient%06d:example.com", i))
}

// benchStates returns a batch as the stream path makes it: positions with gaps,
// users all over the table.
func benchStates() []presence.UserState {
	states := make([]presence.UserState, benchBatch)
	for i := range states {
		states[i] = presence.UserState{
			UserID:          benchUser(i * 7919 % benchRoutes),
			State:           presence.Online,
			LastActive:      1795378782366 + int64(i),
			LastUserSync:    1795378782300 + int64(i),
			StatusMsg:       presence.Status("lunch ☕"),
			CurrentlyActive: true,
		}.FromUpdate([]byte(`{"user_id":"@user:example.com","state":"online"}`), uint64(100+16*i))
	}
	return states
}

func newDispatcher(tb testing.TB, routers ...routing.Router) *routing.Dispatcher {
	tb.Helper()
	return newDispatcherWith(tb, nil, routers...)
}

// newDispatcherWith names the routers r0, r1 and so on.
func newDispatcherWith(tb testing.TB, opts []routing.Option, routers ...routing.Router) *routing.Dispatcher {
	tb.Helper()
	registrations := make([]routing.Registration, len(routers))
	for i, r := range routers {
		registrations[i] = routing.Registration{Name: fmt.Sprintf("r%d", i), Router: r, Timeout: time.Minute}
	}
	d, err := routing.NewDispatcher(registrations, opts...)
	if err != nil {
		tb.Fatalf("NewDispatcher: %v", err)
	}
	return d
}
