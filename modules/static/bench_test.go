package static_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

const batch = 256 // updates routed together

// BenchmarkDispatcher measures batches of updates, whose users are all over a list of
// 100,000 routes, through the Dispatcher.
func BenchmarkDispatcher(b *testing.B) {
	const routes = 100_000
	for _, recipients := range []int{1, 10} {
		b.Run(fmt.Sprintf("routes=%d/recipients=%d", routes, recipients), func(b *testing.B) {
			d, batches := listed(b, routes, recipients)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				if result := d.UsersForStates(b.Context(), batches[n%len(batches)]); len(result.Recipients) == 0 {
					b.Fatal("no recipients")
				}
				n++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/update")
		})
	}
}

// TestAllocations holds a batch of updates to its budget, from the states to the
// merged recipients.
func TestAllocations(t *testing.T) {
	d, batches := listed(t, 10*batch, 1)
	n := 0
	got := testing.AllocsPerRun(20, func() {
		d.UsersForStates(context.Background(), batches[n%len(batches)])
		n++
	})
	const want = 40 // whatever the number of updates is
	if got > want && !raceDetector {
		t.Errorf("%.0f allocations for a batch of %d updates, at most %d are in order", got, batch, want)
	}
}

// listed returns a Dispatcher on a list of routes, each from one user to recipients
// of its own, and batches of states that take the users in turn.
func listed(tb testing.TB, routes, recipients int) (*routing.Dispatcher, [][]presence.UserState) {
	tb.Helper()
	var config static.Config
	for user := range routes {
		r := static.Route{Users: []presence.UserID{numbered("user", user)}}
		for k := range recipients {
			r.Recipients = append(r.Recipients, numbered("reader", (user*recipients+k)*7919%100_003))
		}
		config.Routes = append(config.Routes, r)
	}
	router, err := static.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := routing.NewDispatcher([]routing.Registration{{Name: "static", Router: router, Timeout: time.Minute}})
	if err != nil {
		tb.Fatal(err)
	}
	batches := make([][]presence.UserState, routes/batch)
	for n := range batches {
		for i := range batch {
			user := (n*batch + i) * 7919 % routes
			state := presence.UserState{
				UserID: numbered("user", user), State: presence.Online, LastActive: int64(i), StatusMsg: presence.Status("lunch ☕"),
			}
			batches[n] = append(batches[n], state.FromUpdate([]byte(`{}`), uint64(i)+1))
		}
	}
	return d, batches
}

func numbered(name string, n int) presence.UserID {
	return presence.MustUserID(fmt.Sprintf("@%s%d:example.com", name, n))
}
