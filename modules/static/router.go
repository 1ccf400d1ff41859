package static

import (
	"context"
	"errors"
	"fmt"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Router routes presence by a fixed list. It is immutable and safe for concurrent
// use.
type Router struct {
	recipients directory[[]presence.UserID] // by user: who receives
	interests  directory[routing.Interest]  // by recipient: whose presence
}

// New returns the router of a valid config, or the error of Config.Validate or of
// Config.ReadFile, which it calls unless that was done.
func New(config Config) (*Router, error) {
	if err := errors.Join(config.Validate(), config.ReadFile()); err != nil {
		return nil, fmt.Errorf("check config of static: %w", err)
	}
	routes := config.everything()
	recipients := func(r Route) []presence.UserID { return r.Recipients }
	users := func(r Route) []presence.UserID { return r.Users }
	return &Router{
		recipients: makeDirectory(routes, users, func(of []int32) []presence.UserID {
			return union(routes, of, recipients).Users()
		}),
		interests: makeDirectory(routes, recipients, func(of []int32) routing.Interest {
			return union(routes, of, users)
		}),
	}, nil
}

// UsersForStates gives each state to the recipients of the routes that list its
// user. The answer shares memory with states. The only error is that of ctx.
func (r *Router) UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("route by list: %w", err)
	}
	runs := r.runs(states)
	recipients := r.recipientsOf(runs)
	given := make(map[presence.UserID][]presence.UserState, min(len(recipients), len(r.interests.groups)))
	for _, run := range runs {
		n := len(r.recipients.answers[run.group])
		give(given, recipients[:n], states[run.first:run.after:run.after])
		recipients = recipients[n:]
	}
	return given, nil
}

// run is states of one group that follow each other.
type run struct {
	group        int32
	first, after int // index of the first state, and of the one after the last
}

// runs splits states, and leaves out those of users who are in no route.
func (r *Router) runs(states []presence.UserState) []run {
	runs := make([]run, 0, len(states))
	for i := range states {
		group, listed := r.recipients.groups[states[i].UserID]
		if !listed {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].group == group && runs[n-1].after == i {
			runs[n-1].after++
		} else {
			runs = append(runs, run{group: group, first: i, after: i + 1})
		}
	}
	return runs
}

// recipientsOf returns the recipients of one run after the other. They are all over
// a large memory: read in one go, the processor waits for many of them at a time.
func (r *Router) recipientsOf(runs []run) []presence.UserID {
	if len(runs) == 1 {
		return r.recipients.answers[runs[0].group]
	}
	count := 0
	for _, run := range runs {
		count += len(r.recipients.answers[run.group])
	}
	recipients := make([]presence.UserID, 0, count)
	for _, run := range runs {
		recipients = append(recipients, r.recipients.answers[run.group]...)
	}
	return recipients
}

// give appends states to those of each recipient. The first ones a recipient gets
// are not copied: the slice has no room, so what follows moves it elsewhere.
func give(given map[presence.UserID][]presence.UserState, recipients []presence.UserID, states []presence.UserState) {
	for _, recipient := range recipients {
		if earlier, found := given[recipient]; found {
			given[recipient] = append(earlier, states...)
		} else {
			given[recipient] = states
		}
	}
}

// InterestedUsers returns the users of the routes that name userID as a
// recipient. The only error is that of ctx.
func (r *Router) InterestedUsers(ctx context.Context, userID presence.UserID) (routing.Interest, error) {
	if err := ctx.Err(); err != nil {
		return routing.Interest{}, fmt.Errorf("look up interest in list: %w", err)
	}
	return r.interests.answer(userID), nil
}

// union returns what one side of the routes of names.
func union(routes []Route, of []int32, side func(Route) []presence.UserID) routing.Interest {
	var all []presence.UserID
	for _, i := range of {
		all = append(all, side(routes[i])...)
	}
	return routing.Users(all...)
}
