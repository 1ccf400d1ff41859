package routingtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// firstAnswer returns what all later answers are compared with.
func (s *suite) firstAnswer() (routes, bool) {
	s.t.Helper()
	first, err := s.usersForStates(s.t.Context(), s.limit)
	if err != nil {
		s.t.Errorf("UsersForStates(%d sample states): %v, want an answer", len(s.states), err)
		return nil, false
	}
	return first, true
}

// checkReach makes sure that the other checks have something to look at.
func (s *suite) checkReach(first routes) {
	s.t.Helper()
	if s.nobody {
		return
	}
	for _, states := range first {
		if len(states) > 0 {
			return
		}
	}
	s.t.Errorf("UsersForStates(%d sample states): reached nobody, so nothing is tested: choose samples with WithStates, or ReachesNobody", len(s.states))
}

func (s *suite) checkOrigins(first routes) {
	s.t.Helper()
	for _, recipient := range recipients(first) {
		if recipient.IsZero() {
			s.t.Errorf("UsersForStates: a recipient has no user ID")
		}
		for _, state := range first[recipient] {
			if why := s.input.rejects(state); why != "" {
				s.t.Errorf("UsersForStates: %s was given a state of %q that %s", recipient, state.UserID, why)
			}
		}
	}
}

// checkComplementary compares the two answers for every pair of a user who may
// receive and a user of the input.
func (s *suite) checkComplementary(first routes) {
	s.t.Helper()
	receivers := slices.Concat(recipients(first), s.users)
	slices.SortFunc(receivers, presence.UserID.Compare)
	for _, receiver := range slices.Compact(receivers) {
		interest, err := s.interestedUsers(s.t.Context(), receiver, s.limit)
		if err != nil {
			s.t.Errorf("InterestedUsers(%s): %v, want an answer", receiver, err)
			continue
		}
		s.checkPairs(receiver, interest, first[receiver])
	}
}

func (s *suite) checkPairs(receiver presence.UserID, interest routing.Interest, received []presence.UserState) {
	s.t.Helper()
	for _, user := range s.input.users() {
		ofUser := func(state presence.UserState) bool { return state.UserID == user }
		receives := slices.ContainsFunc(received, ofUser)
		switch {
		case receives && !interest.Contains(user):
			s.t.Errorf("not complementary: %s receives states of %s, who is not in InterestedUsers(%[1]s)", receiver, user)
		case !receives && interest.Contains(user):
			s.t.Errorf("not complementary: %s is in InterestedUsers(%s), who receives no state of %[1]s", user, receiver)
		}
	}
}

func (s *suite) checkSameAgain(first routes) {
	s.t.Helper()
	s.compareRoutes("asked again", first)
	for _, user := range s.users {
		before, beforeErr := s.interestedUsers(s.t.Context(), user, s.limit)
		after, afterErr := s.interestedUsers(s.t.Context(), user, s.limit)
		if beforeErr != nil || afterErr != nil {
			continue // told by checkComplementary
		}
		if before.IsAll() != after.IsAll() || !slices.Equal(before.Users(), after.Users()) {
			s.t.Errorf("asked again: InterestedUsers(%s) answered differently", user)
		}
	}
}

func (s *suite) compareRoutes(when string, first routes) {
	s.t.Helper()
	again, err := s.usersForStates(s.t.Context(), s.limit)
	if err != nil {
		s.t.Errorf("%s: UsersForStates: %v, want an answer", when, err)
		return
	}
	if recipient, differs := difference(first, again); differs {
		s.t.Errorf("%s: UsersForStates answered differently for %s", when, recipient)
	}
}

// checkConcurrent asks both questions in several goroutines at once; the race
// detector does the rest.
func (s *suite) checkConcurrent(first routes) {
	s.t.Helper()
	var callers sync.WaitGroup
	for range s.callers {
		callers.Go(func() {
			s.compareRoutes("asked by several goroutines", first)
			for _, user := range s.users {
				_, _ = s.interestedUsers(s.t.Context(), user, s.limit) // errors are told by checkComplementary
			}
		})
	}
	callers.Wait()
}

// checkContext asks with a ctx that ended, and with one that ends meanwhile. What
// the router answers then does not matter, only that it returns.
func (s *suite) checkContext() {
	s.t.Helper()
	s.checkReturns("ctx ended before the call", 0)
	s.checkReturns("ctx ended during the call", time.Millisecond)
}

func (s *suite) checkReturns(when string, after time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), after)
	defer cancel()
	if _, err := s.usersForStates(ctx, after+s.grace); errors.Is(err, errNoAnswer) {
		s.t.Errorf("%s: UsersForStates: did not return within %v", when, s.grace)
	}
	if len(s.users) == 0 {
		return
	}
	ctx, cancel = context.WithTimeout(s.t.Context(), after)
	defer cancel()
	if _, err := s.interestedUsers(ctx, s.users[0], after+s.grace); errors.Is(err, errNoAnswer) {
		s.t.Errorf("%s: InterestedUsers: did not return within %v", when, s.grace)
	}
}

// checkInput comes last: no call so far may have changed the input.
func (s *suite) checkInput() {
	s.t.Helper()
	if change := s.input.change(); change != "" {
		s.t.Errorf("UsersForStates %s", change)
	}
}
