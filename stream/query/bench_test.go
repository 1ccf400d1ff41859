package query_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/query"
)

// BenchmarkUsersForStates measures the way of a query from the bytes of the request
// to those of the answer, without NATS.
func BenchmarkUsersForStates(b *testing.B) {
	for _, states := range []int{1, 100} {
		b.Run(fmt.Sprintf("states=%d/recipients=10", states), func(b *testing.B) {
			answer := answerUsersForStates(b, states, 10)
			b.ReportAllocs()
			for b.Loop() {
				answer(b.Context())
			}
		})
	}
}

// TestUsersForStatesAllocations holds the query to its budget.
func TestUsersForStatesAllocations(t *testing.T) {
	answer := answerUsersForStates(t, 1, 10)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // sooner than the router's
	defer cancel()
	got := testing.AllocsPerRun(100, func() { answer(ctx) })
	const want = 28
	if got > want && !raceDetector {
		t.Errorf("%.0f allocations for a query about one state of 10 recipients, at most %d are in order", got, want)
	}
}

// answerUsersForStates returns a function that answers one query about states of
// different users, each with recipients of their own.
func answerUsersForStates(tb testing.TB, states, recipients int) func(context.Context) {
	tb.Helper()
	table := make(map[presence.UserID][]presence.UserID)
	request := []byte(`{"states":[`)
	for n := range states {
		user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", n))
		for k := range recipients {
			table[user] = append(table[user], presence.MustUserID(fmt.Sprintf("@reader%d:example.com", (n*recipients+k)*7919%100_003)))
		}
		if n > 0 {
			request = append(request, ',')
		}
		request = fmt.Appendf(request, `{"user_id":%q,"state":"online","last_active_ts":%d,"last_user_sync_ts":1795378782300,"status_msg":"in a meeting","currently_active":true}`,
			user, 1795378782366+n)
	}
	request = append(request, `]}`...)
	answer, buffer := query.UsersForStates(dispatcherOf(tb, table)), []byte(nil)
	return func(ctx context.Context) {
		var err error
		if buffer, err = answer(ctx, buffer[:0], request); err != nil {
			tb.Fatal(err)
		}
	}
}

// dispatcherOf returns a Dispatcher with one router, which gives the states of each user
// of the table to their recipients.
func dispatcherOf(tb testing.TB, table map[presence.UserID][]presence.UserID) *routing.Dispatcher {
	tb.Helper()
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
			given := make(map[presence.UserID][]presence.UserState, 10*len(states))
			for i := range states {
				for _, recipient := range table[states[i].UserID] {
					given[recipient] = states[i : i+1 : i+1]
				}
			}
			return given, nil
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.Interest{}, nil },
	}.Router()
	if err != nil {
		tb.Fatal(err)
	}
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "table", Router: router, Timeout: time.Minute}})
	if err != nil {
		tb.Fatal(err)
	}
	return dispatcher
}
