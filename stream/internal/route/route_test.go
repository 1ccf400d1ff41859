package route_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/route"
	"github.com/presence-router/presence-router/stream/wire"
)

const dave = "@dave:example.com"

// routed routes a batch of updates of bob, whose marks are their sequences; "" in place of
// a body is one of those.
func routed(t *testing.T, bodies []string, routers []routing.Registration, retryLimit time.Duration) ([]route.RoutedPart, error) {
	t.Helper()
	dispatcher, err := routing.NewDispatcher(routers, routing.WithLocalServers(func(presence.ServerName) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		t.Fatal(err)
	}
	var stored []route.Stored
	for i, body := range bodies {
		if body == "" {
			body = update(bob, i+1)
		}
		stored = append(stored, route.Stored{Subject: "presence.update.0" + subjects.Update(presence.MustUserID(bob))[len("presence.update"):], Data: []byte(body)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // Time is made up.
	defer cancel()
	return route.Route(ctx, dispatcher, subjects, stored, retryLimit)
}

// failsIn returns the ways in which a router fails, by kind.
func failsIn() map[routing.FailureKind]func(context.Context, states) (answer, error) {
	return map[routing.FailureKind]func(context.Context, states) (answer, error){
		routing.KindError: func(context.Context, states) (answer, error) { return nil, errors.New("spilled") },
		routing.KindPanic: func(context.Context, states) (answer, error) { panic("spilled") },
		routing.KindTimeout: func(ctx context.Context, _ states) (answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		routing.KindInvalid: func(_ context.Context, batch states) (answer, error) {
			a := toDave(batch)
			a[presence.UserID{}] = batch // which is nobody
			return a, nil
		},
	}
}

// What a router costs that fails on one update of four, the third: how many dead letters,
// how many of its deliveries, and how many calls.
func TestCostOfAFailure(t *testing.T) {
	t.Parallel()
	const bad = 3
	all, butBad, none := []uint64{1, 2, 3, 4}, []uint64{1, 2, 4}, []uint64(nil)
	apart := [][]uint64{{1, 2}, {3}, {4}}
	together := [][]uint64{all}
	tests := []struct {
		kind    routing.FailureKind
		policy  routing.Policy
		parts   [][]uint64
		letters []uint64
		dave    []uint64 // what the recipient of the router that fails receives
		calls   int64
	}{
		{routing.KindError, routing.Skip, together, none, none, 1},
		{routing.KindError, routing.DeadLetter, apart, []uint64{bad}, butBad, 5},
		{routing.KindError, routing.Retry, apart, []uint64{bad}, butBad, 5},
		{routing.KindPanic, routing.Skip, apart, none, butBad, 5},
		{routing.KindPanic, routing.DeadLetter, apart, []uint64{bad}, butBad, 5},
		{routing.KindPanic, routing.Retry, apart, []uint64{bad}, butBad, 5},
		{routing.KindInvalid, routing.Skip, together, none, all, 1},
		{routing.KindInvalid, routing.DeadLetter, apart, []uint64{bad}, all, 5},
		{routing.KindInvalid, routing.Retry, apart, []uint64{bad}, all, 5},
		{routing.KindTimeout, routing.Skip, together, none, none, 1},
		{routing.KindTimeout, routing.DeadLetter, together, all, none, 1},
		{routing.KindTimeout, routing.Retry, together, all, none, 1},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, %s", tt.kind, tt.policy), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int64
				fail := failsIn()[tt.kind]
				parts, err := routed(t, make([]string, 4), besides(t, tt.policy, func(ctx context.Context, batch states) (answer, error) {
					calls.Add(1)
					if slices.Contains(marks(batch), bad) {
						return fail(ctx, batch)
					}
					return toDave(batch), nil
				}), 0)
				if err != nil {
					t.Fatalf("route = %v", err)
				}
				whole := joined(parts)
				if got := updatesOf(parts); !reflect.DeepEqual(got, tt.parts) {
					t.Errorf("parts are %v, want %v", got, tt.parts)
				}
				if !slices.Equal(whole.Letters, tt.letters) || slices.ContainsFunc(whole.Routers, func(name string) bool { return name != "picky" }) {
					t.Errorf("dead letters are %v by %q, want %v by the router that fails", whole.Letters, whole.Routers, tt.letters)
				}
				if got := whole.Recipients[dave]; !slices.Equal(got, tt.dave) {
					t.Errorf("recipient of the router that fails receives %v, want %v", got, tt.dave)
				}
				if got := whole.Recipients[alice]; !slices.Equal(got, all) {
					t.Errorf("recipient of the router that works receives %v, want %v", got, all)
				}
				if got := calls.Load(); got != tt.calls {
					t.Errorf("the router is asked %d times, want %d", got, tt.calls)
				}
			})
		})
	}
}

func updatesOf(parts []route.RoutedPart) [][]uint64 {
	var found [][]uint64
	for _, p := range parts {
		found = append(found, p.Updates)
	}
	return found
}

// joined returns what all parts together are about.
func joined(parts []route.RoutedPart) route.RoutedPart {
	whole := route.RoutedPart{Part: route.Part{Recipients: make(map[string][]uint64)}}
	for _, p := range parts {
		whole.Updates = append(whole.Updates, p.Updates...)
		whole.Letters = append(whole.Letters, p.Letters...)
		whole.Routers = append(whole.Routers, p.Routers...)
		for id, sequences := range p.Recipients {
			whole.Recipients[id] = append(whole.Recipients[id], sequences...)
		}
	}
	return whole
}

// An update is one dead letter, however many reasons there are for it: it names the first
// router that failed, and none if it could not be read.
func TestUpdateIsOneDeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := failsIn()[routing.KindTimeout]
		parts, err := routed(t, []string{"", "{", ""}, []routing.Registration{
			{Name: "skipped", Router: routerOf(t, slow), Timeout: time.Second, OnError: routing.Skip},
			{Name: "first", Router: routerOf(t, slow), Timeout: time.Second, OnError: routing.DeadLetter},
			{Name: "second", Router: routerOf(t, slow), Timeout: time.Second, OnError: routing.DeadLetter},
		}, 0)
		if err != nil || len(parts) != 1 {
			t.Fatalf("route = %v, %v, want one part", parts, err)
		}
		if want := []uint64{2, 1, 3}; !slices.Equal(parts[0].Letters, want) {
			t.Errorf("dead letters are of updates %v, want %v", parts[0].Letters, want)
		}
		if want := []string{"", "first", "first"}; !slices.Equal(parts[0].Routers, want) {
			t.Errorf("dead letters name the routers %q, want %q", parts[0].Routers, want)
		}
	})
}

// A router whose policy is retry is asked again for as long as the limit, wherever it
// stands among others that fail, and no other is a reason to ask again.
func TestRetryLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		policies []routing.Policy // of routers that fail, but for the last one, which works in time
		limit    time.Duration
		works    int64 // the call from which on the routers work, 0 for never
		again    bool
		letters  int
	}{
		{"no limit is no retry", []routing.Policy{routing.Retry}, 0, 0, false, 1},
		{"a limit", []routing.Policy{routing.Retry}, time.Minute, 0, true, 1},
		{"it works in time", []routing.Policy{routing.Retry}, time.Minute, 4, true, 0},
		{"behind one that is skipped", []routing.Policy{routing.Skip, routing.Retry}, time.Minute, 4, true, 0},
		{"behind a dead letter", []routing.Policy{routing.DeadLetter, routing.Retry}, time.Minute, 4, true, 0},
		{"before a dead letter", []routing.Policy{routing.Retry, routing.DeadLetter}, time.Minute, 0, true, 1},
		{"a dead letter", []routing.Policy{routing.DeadLetter}, time.Minute, 4, false, 1},
		{"one that is skipped", []routing.Policy{routing.Skip}, time.Minute, 4, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls, began := make([]atomic.Int64, len(tt.policies)), time.Now()
				routers := make([]routing.Registration, len(tt.policies))
				for i, policy := range tt.policies {
					routers[i] = routing.Registration{Name: strconv.Itoa(i), Timeout: time.Second, OnError: policy, Router: routerOf(t, func(_ context.Context, batch states) (answer, error) {
						if call := calls[i].Add(1); tt.works > 0 && call >= tt.works {
							return toDave(batch), nil
						}
						return nil, errors.New("spilled")
					})}
				}
				parts, err := routed(t, make([]string, 1), routers, tt.limit)
				if err != nil {
					t.Fatalf("route = %v after %v, want an end", err, time.Since(began))
				}
				if got := len(joined(parts).Letters); got != tt.letters {
					t.Errorf("there are %d dead letters, want %d", got, tt.letters)
				}
				if most := calls[0].Load(); most > 1 != tt.again {
					t.Errorf("each router was asked %d times, want more than once %t", most, tt.again)
				}
				if took := time.Since(began); took > tt.limit {
					t.Errorf("it took %v, want %v at most", took, tt.limit)
				}
			})
		})
	}
}
