package routingtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// routes is the answer to UsersForStates.
type routes = map[presence.UserID][]presence.UserState

var errNoAnswer = errors.New("no answer")

// ask puts one question to the router in a goroutine of its own and waits for the
// answer, at most for limit. A panic is an error.
func ask[A any](ctx context.Context, limit time.Duration, put func(context.Context) (A, error)) (A, error) {
	type outcome struct {
		answer A
		err    error
	}
	outcomes := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("the router ended its goroutine")}
		defer func() {
			if value := recover(); value != nil {
				o.err = fmt.Errorf("panic: %v", value)
			}
			outcomes <- o
		}()
		o.answer, o.err = put(ctx)
	}()
	select {
	case o := <-outcomes:
		return o.answer, o.err
	case <-time.After(limit):
		var none A
		return none, fmt.Errorf("%w within %v", errNoAnswer, limit)
	}
}

func (s *suite) usersForStates(ctx context.Context, limit time.Duration) (routes, error) {
	return ask(ctx, limit, func(ctx context.Context) (routes, error) {
		return s.router.UsersForStates(ctx, s.input.states)
	})
}

func (s *suite) interestedUsers(ctx context.Context, user presence.UserID, limit time.Duration) (routing.Interest, error) {
	return ask(ctx, limit, func(ctx context.Context) (routing.Interest, error) {
		return s.router.InterestedUsers(ctx, user)
	})
}

// difference names a recipient whose states differ between a and b, whatever their
// order; ok is false where there is none.
func difference(a, b routes) (recipient presence.UserID, ok bool) {
	for _, r := range recipients(a, b) {
		if !sameStates(a[r], b[r]) {
			return r, true
		}
	}
	return presence.UserID{}, false
}

// recipients returns the keys of all routes, sorted.
func recipients(all ...routes) []presence.UserID {
	var ids []presence.UserID
	for _, r := range all {
		for id := range r {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, presence.UserID.Compare)
	return slices.Compact(ids)
}

func sameStates(a, b []presence.UserState) bool {
	inA, inB := contents(a), contents(b)
	if len(inA) != len(inB) {
		return false
	}
	for s := range inA {
		if !inB[s] {
			return false
		}
	}
	return true
}

func contents(states []presence.UserState) map[presence.UserState]bool {
	set := make(map[presence.UserState]bool, len(states))
	for _, s := range states {
		set[s.Content()] = true
	}
	return set
}
