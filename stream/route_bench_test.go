package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const routedBatch = 256 // updates routed together

// BenchmarkRoutingPath measures a batch of updates on its way from bytes to encoded
// deliveries, without NATS.
func BenchmarkRoutingPath(b *testing.B) {
	for _, recipients := range []int{1, 3} {
		b.Run(fmt.Sprintf("recipients=%d", recipients), func(b *testing.B) {
			path := routingPath(b, recipients)
			b.ReportAllocs()
			for b.Loop() {
				if messages, err := path(b.Context()); err != nil || messages != recipients*routedBatch {
					b.Fatalf("%d messages, %v", messages, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/routedBatch, "ns/update")
		})
	}
}

// TestRoutingPathAllocations holds the way from bytes to encoded deliveries to its
// budget. An update of one recipient has its state, what it was published as, its
// user ID and text, and the subject of its delivery; the rest is shared by the batch.
func TestRoutingPathAllocations(t *testing.T) {
	path := routingPath(t, 1)
	got := testing.AllocsPerRun(20, func() {
		if _, err := path(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	const perUpdate = 6
	if got > perUpdate*routedBatch && !raceDetector {
		t.Errorf("%.0f allocations for a batch of %d, at most %d are in order", got, routedBatch, perUpdate*routedBatch)
	}
}

// routingPath returns the way of a batch of updates of different users, each with
// recipients of its own.
func routingPath(tb testing.TB, recipients int) func(context.Context) (int, error) {
	tb.Helper()
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		tb.Fatal(err)
	}
	table := make(map[presence.UserID][]presence.UserID)
	stored := make([]stream.Stored, routedBatch)
	for i := range stored {
		user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", i))
		for k := range recipients {
			table[user] = append(table[user], presence.MustUserID(fmt.Sprintf("@reader%d:example.com", (i*recipients+k)*7919%100_003)))
		}
		stored[i] = stream.Stored{Subject: "presence.update.0" + subjects.Update(user)[len("presence.update"):], Data: fmt.Appendf(nil,
			`{"user_id":%q,"state":"online","last_active_ts":%d,"last_user_sync_ts":1795378782300,"status_msg":"in a meeting until three, then out for lunch ☕","currently_active":true}`,
			user, 1795378782366+i)}
	}
	return stream.RoutingPath(tableDispatcher(tb, table, recipients), subjects, stored)
}

// tableDispatcher returns a Dispatcher with one router, which gives the states of
// each user of the table to that many recipients, whom nobody else has.
func tableDispatcher(tb testing.TB, table map[presence.UserID][]presence.UserID, recipients int) *routing.Dispatcher {
	tb.Helper()
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
			given := make(map[presence.UserID][]presence.UserState, len(states)*recipients)
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
