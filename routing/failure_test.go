package routing_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

const patience = 5 * time.Second

var errBroken = errors.New("broken")

// both is a stub that answers both questions by act, and with nothing where act
// returns nil.
func both(act func(ctx context.Context) error) routing.Router {
	return stub{
		route: func(ctx context.Context, _ []presence.UserState) (routes, error) { return nil, act(ctx) },
		interest: func(ctx context.Context, _ presence.UserID) (routing.Interest, error) {
			return routing.Interest{}, act(ctx)
		},
	}
}

// obedient waits for ctx to end.
func obedient() routing.Router {
	return both(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// answering chooses bob's state for alice, and is interested in bob.
func answering() routing.Router {
	return stub{
		route: func(_ context.Context, states []presence.UserState) (routes, error) {
			return routes{local("alice"): states}, nil
		},
		interest: func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Users(local("bob")), nil
		},
	}
}

func bobsUpdate() []presence.UserState { return []presence.UserState{at(1, "bob", 1)} }

// patient registers router as "bad" and two that answer as "before" and "after".
func patient(t *testing.T, router routing.Router, opts ...routing.Option) *routing.Dispatcher {
	t.Helper()
	d, err := routing.NewDispatcher([]routing.Registration{
		{Name: "before", Router: answering(), Timeout: patience},
		{Name: "bad", Router: router, Timeout: patience, OnError: routing.Retry},
		{Name: "after", Router: answering(), Timeout: patience},
	}, opts...)
	if err != nil {
		t.Fatalf("NewDispatcher: %v", err)
	}
	return d
}

func TestOneRouterFailsAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		router routing.Router
		kind   routing.FailureKind
		want   error // nil for any
		says   string
		took   time.Duration
	}{
		{name: "error", router: both(func(context.Context) error { return fmt.Errorf("ask: %w", errBroken) }), kind: routing.KindError, want: errBroken, says: "ask: broken"},
		{name: "panic", router: both(func(context.Context) error { panic("oh no") }), kind: routing.KindPanic, says: "panic: oh no"},
		{name: "panic with an error", router: both(func(context.Context) error { panic(errBroken) }), kind: routing.KindPanic, want: errBroken, says: "panic: broken"},
		{name: "panic of the runtime", router: both(func(ctx context.Context) error {
			var none routing.Callbacks
			_, err := none.InterestedUsers(ctx, local("alice"))
			return err
		}), kind: routing.KindPanic, says: "nil pointer dereference"},
		{name: "ends its goroutine", router: both(func(context.Context) error { runtime.Goexit(); return nil }), kind: routing.KindError, says: "ended its goroutine"},
		{name: "obeys its ctx", router: obedient(), kind: routing.KindTimeout, want: context.DeadlineExceeded, says: "no answer within 5s", took: patience},
		{name: "own error after its time", router: both(func(ctx context.Context) error { <-ctx.Done(); return errBroken }), kind: routing.KindTimeout, says: "no answer within 5s", took: patience},
		{name: "slow but in time", router: both(func(context.Context) error { <-time.After(patience - 1); return errBroken }), kind: routing.KindError, want: errBroken, took: patience - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := patient(t, tt.router)
				begun := time.Now()
				result := d.UsersForStates(t.Context(), bobsUpdate())
				if took := time.Since(begun); took != tt.took {
					t.Errorf("UsersForStates took %v, want %v", took, tt.took)
				}
				checkOthersCount(t, result)
				interest, err := d.InterestedUsers(t.Context(), local("alice"))
				if err != nil || !slices.Equal(interest.Interest.Users(), []presence.UserID{local("bob")}) {
					t.Errorf("InterestedUsers = %v, %v, want bob", interest.Interest.Users(), err)
				}
				for question, failures := range map[string][]routing.Failure{"UsersForStates": result.Failures, "InterestedUsers": interest.Failures} {
					f := oneFailure(t, question, failures)
					if f.Kind != tt.kind || !strings.Contains(f.Err.Error(), tt.says) || tt.want != nil && !errors.Is(f.Err, tt.want) {
						t.Errorf("%s: failure of kind %s: %v, want %s that says %q", question, f.Kind, f.Err, tt.kind, tt.says)
					}
				}
			})
		})
	}
}

func checkOthersCount(t *testing.T, result routing.Result) {
	t.Helper()
	want := []string{"@alice:example.com <- bob/1@1 by before,after"}
	if got := lines(result); !slices.Equal(got, want) {
		t.Errorf("recipients %q, want %q", got, want)
	}
}

// oneFailure returns the only one of failures, which has to be of the router bad.
func oneFailure(t *testing.T, question string, failures []routing.Failure) routing.Failure {
	t.Helper()
	if len(failures) != 1 || failures[0].Router != "bad" || failures[0].OnError != routing.Retry {
		t.Fatalf("%s: failures %+v, want one of router bad with policy retry", question, failures)
	}
	return failures[0]
}

func TestPanicKeepsItsStack(t *testing.T) {
	d := patient(t, both(func(context.Context) error { panicHere(); return nil }))
	f := oneFailure(t, "UsersForStates", d.UsersForStates(t.Context(), bobsUpdate()).Failures)
	p, ok := errors.AsType[*routing.PanicError](f.Err)
	if !ok || p.Value != "here" || !strings.Contains(string(p.Stack), "panicHere") {
		t.Errorf("failure %#v, want a PanicError with the stack of panicHere", f.Err)
	}
	if strings.Contains(f.Err.Error(), "\n") {
		t.Errorf("error %q has more than one line", f.Err)
	}
}

func panicHere() { panic("here") }

func TestTimeoutHasTheRoutersOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		d := patient(t, both(func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left != patience || ctx.Value(key{}) != "value" {
				t.Errorf("ctx of the router ends in %v and holds %v, want %v and the caller's value", left, ctx.Value(key{}), patience)
			}
			return nil
		}))
		if result := d.UsersForStates(ctx, bobsUpdate()); len(result.Failures) > 0 {
			t.Errorf("failures %+v, want none", result.Failures)
		}
	})
}

func TestInterestAsksInOrder(t *testing.T) {
	var asked []string
	answer := func(name string, interest routing.Interest, err error) routing.Registration {
		return routing.Registration{Name: name, Timeout: patience, Router: stub{
			interest: func(context.Context, presence.UserID) (routing.Interest, error) {
				asked = append(asked, name)
				return interest, err
			},
		}}
	}
	some, broken := routing.Users(local("bob")), errBroken
	for _, tt := range []struct {
		name     string
		in       []routing.Registration
		asked    string
		all      bool
		failures int
		wantErr  error
	}{
		{name: "all first", in: []routing.Registration{answer("a", routing.All(), nil), answer("b", some, nil)}, asked: "a", all: true},
		{name: "all in between", in: []routing.Registration{answer("a", some, nil), answer("b", routing.All(), nil), answer("c", some, nil)}, asked: "a b", all: true},
		{name: "all beside an error", in: []routing.Registration{answer("a", routing.All(), broken), answer("b", some, nil)}, asked: "a b", failures: 1},
		{name: "nobody is an answer", in: []routing.Registration{answer("a", some, broken), answer("b", routing.Interest{}, nil)}, asked: "a b", failures: 1},
		{name: "all failed", in: []routing.Registration{answer("a", some, broken), answer("b", some, broken)}, asked: "a b", failures: 2, wantErr: routing.ErrAllRoutersFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked = nil
			d, err := routing.NewDispatcher(tt.in)
			if err != nil {
				t.Fatalf("NewDispatcher: %v", err)
			}
			result, err := d.InterestedUsers(t.Context(), local("alice"))
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
			if result.Interest.IsAll() != tt.all || len(result.Failures) != tt.failures || !errors.Is(err, tt.wantErr) {
				t.Errorf("all %t, %d failures, error %v, want all %t, %d failures, error %v",
					result.Interest.IsAll(), len(result.Failures), err, tt.all, tt.failures, tt.wantErr)
			}
			if tt.wantErr != nil && !errors.Is(err, errBroken) {
				t.Errorf("error %v does not wrap those of the routers", err)
			}
		})
	}
}

// TestConcurrentCallers finds data races, under -race.
func TestConcurrentCallers(t *testing.T) {
	d := patient(t, both(func(context.Context) error { return errBroken }))
	states := bobsUpdate()
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 50 {
				checkOthersCount(t, d.UsersForStates(t.Context(), states))
				if _, err := d.InterestedUsers(t.Context(), local("alice")); err != nil {
					t.Errorf("InterestedUsers: %v", err)
				}
			}
		})
	}
	callers.Wait()
	if err := d.Wait(t.Context()); err != nil {
		t.Errorf("Wait: %v", err)
	}
}

func TestResultErrTellsThatAllFailed(t *testing.T) {
	broken := both(func(context.Context) error { return errBroken })
	invalid := stub{route: func(context.Context, []presence.UserState) (routes, error) {
		return routes{local("alice"): {{UserID: local("bob")}}}, nil // a state without a state
	}}
	for _, tt := range []struct {
		name    string
		routers []routing.Router
		want    error
	}{
		{"no routers", nil, nil},
		{"all failed", []routing.Router{broken, broken}, routing.ErrAllRoutersFailed},
		{"one answers", []routing.Router{broken, answering()}, nil},
		{"some of an answer counts", []routing.Router{broken, invalid}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := newDispatcher(t, tt.routers...).UsersForStates(t.Context(), bobsUpdate()).Err()
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("Err() = %v, want %v", err, tt.want)
			}
			if tt.want != nil && !errors.Is(err, errBroken) {
				t.Errorf("Err() = %v, want the errors of the routers in it", err)
			}
		})
	}
}
