package routingtest

import (
	"context"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// T is the part of testing.TB that the suite needs.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
}

// Test reports to t where router breaks the contract: it changes its input, does
// not answer or not obey ctx, is unsafe to call from several goroutines (run with
// -race), returns states that did not come from the input, answers differently when
// asked again, or its two answers are not complementary. The router has to reach
// somebody with the sample states, else nothing would be tested; choose samples that
// fit its configuration.
func Test(t T, router routing.Router, opts ...Option) {
	t.Helper()
	s := newSuite(t, router, opts)
	first, ok := s.firstAnswer()
	if !ok {
		return
	}
	s.checkReach(first)
	s.checkOrigins(first)
	s.checkComplementary(first)
	s.checkSameAgain(first)
	s.checkConcurrent(first)
	s.checkContext()
	s.checkInput()
}

// Option fits the suite to a router.
type Option func(*options)

type options struct {
	states  []presence.UserState
	users   []presence.UserID
	limit   time.Duration
	grace   time.Duration
	nobody  bool
	callers int
}

// WithStates sets the batch that the router is asked about. The default are states
// of SampleUsers.
func WithStates(states ...presence.UserState) Option {
	return func(o *options) { o.states = states }
}

// WithUsers sets the users whose interest is asked for, beside all recipients of the
// batch. The default are SampleUsers.
func WithUsers(users ...presence.UserID) Option {
	return func(o *options) { o.users = users }
}

// WithLimit sets the time the router has for an answer, 30 s by default: a busy machine
// is not at fault.
func WithLimit(limit time.Duration) Option {
	return func(o *options) { o.limit = limit }
}

// WithGrace sets the time the router has to return once its ctx ended, 10 s by
// default.
func WithGrace(grace time.Duration) Option {
	return func(o *options) { o.grace = grace }
}

// ReachesNobody accepts a router that has no recipients for the sample states.
func ReachesNobody() Option {
	return func(o *options) { o.nobody = true }
}

// suite is one run of Test.
type suite struct {
	options

	t      T
	router routing.Router
	input  *input
}

func newSuite(t T, router routing.Router, opts []Option) *suite {
	o := options{
		states:  SampleStates(),
		users:   SampleUsers(),
		limit:   30 * time.Second,
		grace:   10 * time.Second,
		callers: 8,
	}
	for _, opt := range opts {
		opt(&o)
	}
	return &suite{options: o, t: t, router: router, input: newInput(o.states)}
}
