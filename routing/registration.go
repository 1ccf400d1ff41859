package routing

import (
	"errors"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
)

// MaxRegistrations is how many routers one Dispatcher takes.
const MaxRegistrations = 64 // the routers that chose a recipient are one bit each

// Policy says what becomes of the updates that a router failed on.
type Policy string

// The policies. The Dispatcher hands them back with each failure; the caller acts
// on them.
const (
	Skip       Policy = "skip"        // the other routers' answers count, as in Synapse; the default
	Retry      Policy = "retry"       // the updates are routed again, for a bounded time
	DeadLetter Policy = "dead_letter" // the other routers' answers count, and the updates become dead letters
)

// Registration is one router and how it is run.
type Registration struct {
	Name    string        // unique; names the router in results, metrics and logs
	Router  Router        // called by several goroutines at once
	Timeout time.Duration // bound on one call
	OnError Policy        // Skip where empty
}

// Validate returns nil or the joined faults, each a *fault.Field. That names are
// unique is checked by NewDispatcher.
func (r Registration) Validate() error {
	return errors.Join(
		fault.Check(r.Name != "", "name", r.Name, "a name"),
		fault.Check(r.Router != nil, "router", r.Router, "a router"),
		fault.Check(r.Timeout > 0, "timeout", r.Timeout, "more than 0s"),
		fault.Check(r.OnError.valid(), "on_error", string(r.OnError), "skip, retry or dead_letter"),
	)
}

func (p Policy) valid() bool {
	switch p {
	case "", Skip, Retry, DeadLetter:
		return true
	default:
		return false
	}
}

func (p Policy) orDefault() Policy {
	if p == "" {
		return Skip
	}
	return p
}

func validate(registrations []Registration) error {
	faults := []error{fault.Check(len(registrations) <= MaxRegistrations,
		"registrations", fmt.Sprintf("%d routers", len(registrations)), fmt.Sprintf("at most %d", MaxRegistrations))}
	names := make(map[string]bool, len(registrations))
	for i, r := range registrations {
		unique := fault.Check(r.Name == "" || !names[r.Name], "name", r.Name, "a name that no other router has")
		names[r.Name] = true
		faults = append(faults, fault.Under(fmt.Sprintf("registrations[%d]", i), errors.Join(r.Validate(), unique)))
	}
	return errors.Join(faults...)
}
