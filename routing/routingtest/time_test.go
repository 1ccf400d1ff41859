package routingtest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest"
)

func TestReportsRoutersThatOverstay(t *testing.T) {
	slow := func(d time.Duration) { <-time.After(d) }
	for _, tt := range []struct {
		name   string
		router callbacks
		want   []string
	}{
		{name: "no answer", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			slow(31 * time.Second)
			return right, nil
		}), want: []string{"UsersForStates(15 sample states): no answer within 30s, want an answer"}},
		{name: "ignores ctx", router: answering(func(_ []presence.UserState, right routes) (routes, error) {
			slow(11 * time.Second)
			return right, nil
		}), want: []string{
			"ctx ended before the call: UsersForStates: did not return within 10s",
			"ctx ended during the call: UsersForStates: did not return within 10s",
		}},
		{name: "interest ignores ctx", router: interested(func(ctx context.Context, user presence.UserID) (routing.Interest, error) {
			slow(11 * time.Second)
			return keeping().InterestedUsers(ctx, user)
		}), want: []string{
			"ctx ended before the call: InterestedUsers: did not return within 10s",
			"ctx ended during the call: InterestedUsers: did not return within 10s",
		}},
		{name: "looks at ctx at the start only", router: interested(func(ctx context.Context, user presence.UserID) (routing.Interest, error) {
			if ctx.Err() != nil {
				return routing.Interest{}, ctx.Err()
			}
			slow(11 * time.Second)
			return keeping().InterestedUsers(ctx, user)
		}), want: []string{"ctx ended during the call: InterestedUsers: did not return within 10s"}},
		{name: "slow but obeys ctx", router: interested(func(ctx context.Context, user presence.UserID) (routing.Interest, error) {
			select {
			case <-ctx.Done():
				return routing.Interest{}, ctx.Err()
			case <-time.After(11 * time.Second):
				return keeping().InterestedUsers(ctx, user)
			}
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := run(t, tt.router)
				slow(time.Minute) // the calls that overstay end
				if want := strings.Join(tt.want, "\n"); got != want {
					t.Errorf("the suite reports:\n%s\nwant:\n%s", got, want)
				}
			})
		})
	}
}

func TestLimitsAreOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		router := answering(func(_ []presence.UserState, right routes) (routes, error) {
			<-time.After(2 * time.Second)
			return right, nil
		})
		if got := run(t, router, routingtest.WithGrace(3*time.Second)); got != "" {
			t.Errorf("with 3s of grace the suite reports:\n%s\nwant nothing", got)
		}
		if got, want := run(t, router, routingtest.WithLimit(time.Second)), "no answer within 1s"; !strings.Contains(got, want) {
			t.Errorf("with a limit of 1s the suite reports:\n%s\nwant %q", got, want)
		}
		<-time.After(time.Minute) // the calls that overstay end
	})
}

// TestAsksConcurrently makes sure that the race detector gets something to see.
func TestAsksConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var routed, asked peak
		right := keeping()
		router := callbacks{
			UsersForStates: func(ctx context.Context, states []presence.UserState) (routes, error) {
				defer routed.enter()()
				return right.UsersForStates(ctx, states)
			},
			InterestedUsers: func(ctx context.Context, user presence.UserID) (routing.Interest, error) {
				defer asked.enter()()
				return right.InterestedUsers(ctx, user)
			},
		}
		if got := run(t, router, routingtest.WithGrace(time.Minute)); got != "" {
			t.Errorf("the suite reports:\n%s\nwant nothing", got)
		}
		if routed.highest < 2 || asked.highest < 2 {
			t.Errorf("at most %d calls of UsersForStates and %d of InterestedUsers at once, want several", routed.highest, asked.highest)
		}
	})
}

// peak counts how many calls are under way at once.
type peak struct {
	mu           sync.Mutex
	now, highest int
}

// enter begins a call that takes a second; the function it returns ends it.
func (p *peak) enter() func() {
	p.mu.Lock()
	p.now++
	p.highest = max(p.highest, p.now)
	p.mu.Unlock()
	<-time.After(time.Second)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.now--
	}
}
