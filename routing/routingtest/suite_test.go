package routingtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest"
)

type (
	routes    = map[presence.UserID][]presence.UserState
	callbacks = routing.Callbacks
)

var errBroken = errors.New("broken")

func alice() presence.UserID { return presence.MustUserID("@alice:example.com") }
func bob() presence.UserID   { return presence.MustUserID("@bob:example.com") }

// recorder takes the place of *testing.T and keeps what the suite reports.
type recorder struct {
	ctx context.Context //nolint:containedctx // stands in for testing.T, which holds one

	mu       sync.Mutex
	messages []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

func (r *recorder) String() string { return strings.Join(r.messages, "\n") }

// keeping is a router that keeps the contract: Alice receives what Bob publishes.
func keeping() callbacks {
	return callbacks{
		UsersForStates: func(_ context.Context, states []presence.UserState) (routes, error) {
			return routes{alice(): of(bob(), states)}, nil
		},
		InterestedUsers: func(_ context.Context, user presence.UserID) (routing.Interest, error) {
			if user == alice() {
				return routing.Users(bob()), nil
			}
			return routing.Interest{}, nil
		},
	}
}

func of(user presence.UserID, states []presence.UserState) []presence.UserState {
	var chosen []presence.UserState
	for _, s := range states {
		if s.UserID == user {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// answering returns keeping with another answer to UsersForStates, made of the
// right one.
func answering(change func(states []presence.UserState, right routes) (routes, error)) callbacks {
	c := keeping()
	right := c.UsersForStates
	c.UsersForStates = func(ctx context.Context, states []presence.UserState) (routes, error) {
		answer, err := right(ctx, states)
		if err != nil {
			return nil, err
		}
		return change(states, answer)
	}
	return c
}

// interested returns keeping with another answer to InterestedUsers.
func interested(interest func(ctx context.Context, user presence.UserID) (routing.Interest, error)) callbacks {
	c := keeping()
	c.InterestedUsers = interest
	return c
}

func run(t *testing.T, c callbacks, opts ...routingtest.Option) string {
	t.Helper()
	router, err := c.Router()
	if err != nil {
		t.Fatalf("Router: %v", err)
	}
	r := &recorder{ctx: t.Context()}
	routingtest.Test(r, router, opts...)
	return r.String()
}

func TestAcceptsRoutersThatKeepTheContract(t *testing.T) {
	busy := presence.UserState{UserID: bob(), State: presence.Busy}
	for _, tt := range []struct {
		name   string
		router callbacks
		opts   []routingtest.Option
	}{
		{name: "keeping", router: keeping()},
		{name: "own samples", router: keeping(), opts: []routingtest.Option{
			routingtest.WithStates(busy), routingtest.WithUsers(alice()),
		}},
		{name: "no users", router: keeping(), opts: []routingtest.Option{routingtest.WithUsers()}},
		{name: "everything to one", router: callbacks{
			UsersForStates: func(_ context.Context, states []presence.UserState) (routes, error) {
				return routes{alice(): states}, nil
			},
			InterestedUsers: func(_ context.Context, user presence.UserID) (routing.Interest, error) {
				if user == alice() {
					return routing.All(), nil
				}
				return routing.Interest{}, nil
			},
		}},
		{name: "altered copies", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			for i := range right[alice()] {
				right[alice()][i].StatusMsg = presence.StatusMsg{}
			}
			return right, nil
		})},
		{name: "states that lost their update", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			for i, s := range right[alice()] {
				right[alice()][i] = s.Content()
			}
			return right, nil
		})},
		{name: "some states of a user", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			return routes{alice(): right[alice()][:1]}, nil
		})},
		{name: "nobody", router: callbacks{
			UsersForStates:  func(context.Context, []presence.UserState) (routes, error) { return nil, nil },
			InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.Interest{}, nil },
		}, opts: []routingtest.Option{routingtest.ReachesNobody()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(t, tt.router, tt.opts...); got != "" {
				t.Errorf("the suite reports:\n%s\nwant nothing", got)
			}
		})
	}
}

func TestReportsFaultyRouters(t *testing.T) {
	var calls atomic.Int64
	everySecond := func() bool { return calls.Add(1)%2 == 0 }
	for _, tt := range []struct {
		name   string
		router callbacks
		opts   []routingtest.Option
		want   string
	}{
		{name: "reaches nobody", router: keeping(), opts: []routingtest.Option{
			routingtest.WithStates(presence.UserState{UserID: alice(), State: presence.Online}),
		}, want: "reached nobody"},
		{name: "fails", router: answering(func([]presence.UserState, routes) (routes, error) {
			return nil, errBroken
		}), want: "UsersForStates(15 sample states): broken"},
		{name: "panics", router: answering(func([]presence.UserState, routes) (routes, error) {
			panic("oh no")
		}), want: "panic: oh no"},
		{name: "interest fails", router: interested(func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Interest{}, errBroken
		}), want: "InterestedUsers(@alice:example.com): broken"},
		{name: "recipient is nobody", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			right[presence.UserID{}] = nil
			return right, nil
		}), want: "a recipient has no user ID"},
		{name: "makes a state up", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			right[alice()] = append(right[alice()], presence.UserState{UserID: bob(), State: presence.Busy})
			return right, nil
		}), want: "is no state of the input"},
		{name: "copy of another user", router: answering(func(states []presence.UserState, right routes) (routes, error) {
			forged := states[0]
			forged.UserID = bob()
			right[alice()] = append(right[alice()], forged)
			return right, nil
		}), want: "is the altered copy of a state of @alice:example.com"},
		{name: "copy that is invalid", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			right[alice()][0].State = "away"
			return right, nil
		}), want: "cannot be delivered"},
		{name: "receives without interest", router: interested(func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Interest{}, nil
		}), want: "not complementary: @alice:example.com receives states of @bob:example.com, who is not in InterestedUsers(@alice:example.com)"},
		{name: "interest without states", router: interested(func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Users(bob()), nil
		}), want: "not complementary: @bob:example.com is in InterestedUsers(@charlie:somewhere.org), who receives no state of @bob:example.com"},
		{name: "interest in all without states", router: interested(func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.All(), nil
		}), want: "not complementary: @charlie:somewhere.org is in InterestedUsers(@alice:example.com)"},
		{name: "answers differently", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			if everySecond() {
				right[alice()] = right[alice()][:1]
			}
			return right, nil
		}), want: "asked again: UsersForStates answered differently for @alice:example.com"},
		{name: "fails when asked again", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			if everySecond() {
				return nil, errBroken
			}
			return right, nil
		}), want: "asked again: UsersForStates: broken"},
		{name: "interest differs", router: interested(func(context.Context, presence.UserID) (routing.Interest, error) {
			if everySecond() {
				return routing.All(), nil
			}
			return routing.Interest{}, nil
		}), want: "asked again: InterestedUsers(@alice:example.com) answered differently"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls.Store(0)
			if got := run(t, tt.router, tt.opts...); !strings.Contains(got, tt.want) {
				t.Errorf("the suite reports:\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

// TestReportsChangesOfTheInput changes the input once only, as the race detector
// would rightly stop a router that does it in several goroutines.
func TestReportsChangesOfTheInput(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(states []presence.UserState)
		want   string
	}{
		{name: "state", change: func(states []presence.UserState) { states[0].State = presence.Busy }, want: "changed a state or moved it: @alice:example.com"},
		{name: "order", change: func(states []presence.UserState) { states[0], states[3] = states[3], states[0] }, want: "changed a state or moved it"},
		{name: "append", change: func(states []presence.UserState) { _ = append(states, states[0]) }, want: "appended to the slice of states"},
		{name: "update", change: func(states []presence.UserState) { states[0].Published().JSON[0] = '[' }, want: "changed the update of a state: @alice:example.com"},
		{name: "position", change: func(states []presence.UserState) { states[0].Published().Position++ }, want: "changed the update of a state"},
		{name: "update replaced", change: func(states []presence.UserState) { states[0] = states[0].FromUpdate(nil, 1) }, want: "changed a state or moved it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var once sync.Once
			router := answering(func(states []presence.UserState, right routes) (routes, error) {
				once.Do(func() { tt.change(states) })
				return right, nil
			})
			if got := run(t, router); !strings.Contains(got, tt.want) {
				t.Errorf("the suite reports:\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

// TestTakesATestingT runs the suite as modules do.
func TestTakesATestingT(t *testing.T) {
	router, err := keeping().Router()
	if err != nil {
		t.Fatalf("Router: %v", err)
	}
	routingtest.Test(t, router)
}
