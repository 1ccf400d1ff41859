package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// Dispatcher asks all registered routers and merges their answers as Synapse's
// PresenceRouter does (synapse/events/presence_router.py). A router that fails,
// panics or does not answer in time is left out; the others still count. Its
// methods may be called by several goroutines at once.
type Dispatcher struct {
	callers []*caller // in registration order
	names   []string  // of the routers, in registration order
	isLocal func(presence.ServerName) bool
}

// NewDispatcher returns a Dispatcher for routers in registration order; without
// routers it finds no recipients. The error joins a *fault.Field for each fault of
// a registration.
func NewDispatcher(registrations []Registration, opts ...Option) (*Dispatcher, error) {
	if err := validate(registrations); err != nil {
		return nil, err
	}
	o := defaultOptions()
	for _, opt := range opts {
		opt(&o)
	}
	telemetry, err := newTelemetry(o.meters, o.tracers)
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{isLocal: o.isLocal}
	for _, r := range registrations {
		d.callers = append(d.callers, newCaller(r, telemetry.forRouter(r.Name), o.logger))
		d.names = append(d.names, r.Name)
	}
	return d, nil
}

// UsersForStates asks each router in registration order who should receive states,
// and merges the answers. The positions of states ascend; a state that came from no
// update stands at its index + 1.
//
// A recipient's states are the union over the routers, each once, in this order:
// by position; altered copies after the state they were made from; made-up states
// last. A state that says the same as a later one of the batch counts as that one,
// so that the last state of a user that a recipient sees is always the newest.
//
// Once ctx ends no further router is asked; the result holds what is known by then,
// and a failure of kind KindCancelled for each of the others. A router that was
// abandoned may read states later on: do not modify them after the call.
func (d *Dispatcher) UsersForStates(ctx context.Context, states []presence.UserState) Result {
	answers := make([]answer, len(d.callers))
	failures := make([]*Failure, len(d.callers))
	for i, c := range d.callers {
		answers[i], failures[i] = ask(ctx, c, "users for states", func(ctx context.Context) (answer, error) {
			return c.Router.UsersForStates(ctx, states)
		})
	}
	recipients, refused := d.merge(states, answers, failures)
	return Result{Recipients: recipients, Failures: d.report(ctx, failures), Refused: refused, routers: len(d.callers)}
}

// merge merges answers, and adds to failures those of routers whose answers cannot
// all be delivered. It returns the positions, too, of states that no recipient may have.
func (d *Dispatcher) merge(states []presence.UserState, answers []answer, failures []*Failure) ([]Recipient, []uint64) {
	if !slices.ContainsFunc(answers, answer.some) {
		return nil, nil
	}
	m := merger{
		selection: newSelection(newBatch(states, d.isLocal), d.isLocal),
		names:     d.names,
		rejected:  make([]rejection, len(answers)),
	}
	recipients := m.merge(answers)
	for i := range m.rejected {
		if err := m.rejected[i].err(); err != nil {
			failures[i] = d.callers[i].failure(KindInvalid, err)
		}
	}
	return recipients, m.selection.refusedToAll(recipients)
}

// InterestedUsers returns whose presence userID may see: the union over the routers
// in registration order. The first All wins, and later routers are not asked.
// Routers that fail are left out; where routers are registered and all failed, the
// error wraps ErrAllRoutersFailed and the error of each.
func (d *Dispatcher) InterestedUsers(ctx context.Context, userID presence.UserID) (InterestResult, error) {
	var interests []Interest
	failures := make([]*Failure, len(d.callers))
	for i, c := range d.callers {
		interest, failure := ask(ctx, c, "interested users", func(ctx context.Context) (Interest, error) {
			return c.Router.InterestedUsers(ctx, userID)
		})
		if failures[i] = failure; failure != nil {
			continue
		}
		interests = append(interests, interest)
		if interest.IsAll() {
			break
		}
	}
	result := InterestResult{Interest: Union(interests...), Failures: d.report(ctx, failures)}
	if len(d.callers) > 0 && len(interests) == 0 {
		return result, allFailed(result.Failures)
	}
	return result, nil
}

// Wait waits for the calls of routers that were abandoned up to now. The error
// names the first router that has not returned when ctx ends.
func (d *Dispatcher) Wait(ctx context.Context) error {
	for _, c := range d.callers {
		if err := c.stuck.wait(ctx); err != nil {
			return fmt.Errorf("wait for abandoned calls of router %q: %w", c.Name, err)
		}
	}
	return nil
}

// report counts and logs failures, of which each is nil or of one router, and
// returns those that are not nil.
func (d *Dispatcher) report(ctx context.Context, failures []*Failure) []Failure {
	var reported []Failure
	for i, f := range failures {
		if f == nil {
			continue
		}
		d.callers[i].report(ctx, f)
		reported = append(reported, *f)
	}
	return reported
}

func allFailed(failures []Failure) error {
	errs := []error{ErrAllRoutersFailed}
	for _, f := range failures {
		errs = append(errs, fmt.Errorf("router %q: %w", f.Router, f.Err))
	}
	return errors.Join(errs...)
}
