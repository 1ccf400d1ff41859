package routing_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing"
)

// stuck ignores ctx until release is closed.
func stuck(release <-chan struct{}) routing.Router {
	return both(func(context.Context) error {
		<-release
		return nil
	})
}

func TestStuckRouterIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		d := patient(t, stuck(release))
		begun := time.Now()
		result := d.UsersForStates(t.Context(), bobsUpdate())
		if took := time.Since(begun); took != patience {
			t.Errorf("UsersForStates took %v, want %v", took, patience)
		}
		checkOthersCount(t, result)
		if f := oneFailure(t, "UsersForStates", result.Failures); f.Kind != routing.KindTimeout || !errors.Is(f.Err, context.DeadlineExceeded) {
			t.Errorf("failure of kind %s: %v, want timeout", f.Kind, f.Err)
		}
		checkWait(t, d, release)
	})
}

// checkWait makes sure that Wait waits until release is closed.
func checkWait(t *testing.T, d *routing.Dispatcher, release chan struct{}) {
	t.Helper()
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := d.Wait(soon); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("Wait before the call ended = %v, want DeadlineExceeded that names the router", err)
	}
	time.AfterFunc(time.Hour, func() { close(release) })
	begun := time.Now()
	if err := d.Wait(t.Context()); err != nil || time.Since(begun) != time.Hour {
		t.Errorf("Wait = %v after %v, want no error once the call ended after 1h", err, time.Since(begun))
	}
	if err := d.Wait(soon); err != nil {
		t.Errorf("Wait with nothing to wait for = %v, want no error", err)
	}
}

func TestStuckCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var calls atomic.Int64
		d := patient(t, both(func(context.Context) error {
			calls.Add(1)
			<-release
			return nil
		}))
		for range 8 {
			d.UsersForStates(t.Context(), bobsUpdate())
		}
		begun := time.Now()
		result := d.UsersForStates(t.Context(), bobsUpdate())
		_, err := d.InterestedUsers(t.Context(), local("alice"))
		if took := time.Since(begun); took != 0 || err != nil {
			t.Errorf("calls beyond the bound took %v, error %v, want them to fail at once", took, err)
		}
		if calls.Load() != 8 {
			t.Errorf("the router was called %d times, want 8", calls.Load())
		}
		checkOthersCount(t, result)
		f := oneFailure(t, "UsersForStates", result.Failures)
		if f.Kind != routing.KindTimeout || !strings.Contains(f.Err.Error(), "8 earlier calls are stuck") {
			t.Errorf("failure of kind %s: %v, want timeout that says how many calls are stuck", f.Kind, f.Err)
		}
		close(release)
		synctest.Wait()
		if result := d.UsersForStates(t.Context(), bobsUpdate()); len(result.Failures) > 0 {
			t.Errorf("failures %+v once no call is stuck, want none", result.Failures)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, router := range map[string]routing.Router{"obedient": obedient(), "stuck": stuck(t.Context().Done())} {
			d := patient(t, router)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			begun := time.Now()
			result := d.UsersForStates(ctx, bobsUpdate())
			if took := time.Since(begun); took != time.Second {
				t.Errorf("%s: UsersForStates took %v, want 1s", name, took)
			}
			if got, want := lines(result), []string{"@alice:example.com <- bob/1@1 by before"}; !slices.Equal(got, want) {
				t.Errorf("%s: recipients %q, want what is known: %q", name, got, want)
			}
			checkCancelled(t, name, result.Failures, "bad", "after")
			interest, err := d.InterestedUsers(ctx, local("alice"))
			if !errors.Is(err, routing.ErrAllRoutersFailed) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: InterestedUsers: error %v, want ErrAllRoutersFailed and context.Canceled", name, err)
			}
			checkCancelled(t, name, interest.Failures, "before", "bad", "after")
		}
	})
}

func checkCancelled(t *testing.T, name string, failures []routing.Failure, routers ...string) {
	t.Helper()
	var got []string
	for _, f := range failures {
		got = append(got, f.Router)
		if f.Kind != routing.KindCancelled || !errors.Is(f.Err, context.Canceled) {
			t.Errorf("%s: failure of kind %s: %v, want cancelled", name, f.Kind, f.Err)
		}
	}
	if !slices.Equal(got, routers) {
		t.Errorf("%s: failures of %v, want of %v", name, got, routers)
	}
}
