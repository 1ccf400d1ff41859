package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
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
	answer, buffer := stream.UsersForStates(tableDispatcher(tb, table, recipients)), []byte(nil)
	return func(ctx context.Context) {
		var err error
		if buffer, err = answer(ctx, buffer[:0], request); err != nil {
			tb.Fatal(err)
		}
	}
}
