package modules

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Entry is one element of the list of modules in a configuration.
type Entry struct {
	Module  string         `yaml:"module"`   // a name of Table
	Name    string         `yaml:"name"`     // of the router; the module's name where empty
	OnError routing.Policy `yaml:"on_error"` // skip where empty
	Timeout time.Duration  `yaml:"timeout"`  // bound on one call, 1ms to 10m; the default where 0
	Config  *yaml.Node     `yaml:"config"`   // what the module's README says; may be nil
}

// Bounds on the timeout of an entry.
const (
	minTimeout = time.Millisecond
	maxTimeout = 10 * time.Minute
)

// RouterName returns the name under which the router is registered.
func (e Entry) RouterName() string { return cmp.Or(e.Name, e.Module) }

// Build returns the registrations of the entries, in order; defaultTimeout is for
// those without one. Errors are the faults of all entries, joined, each a
// *strictyaml.Fault whose path begins with modules[i].
func Build(entries []Entry, defaultTimeout time.Duration, api API) ([]routing.Registration, error) {
	table := Table()
	registrations := make([]routing.Registration, len(entries))
	faults := []error{checkCount(len(entries)), checkNames(entries)}
	for i, entry := range entries {
		registration, err := entry.build(table, defaultTimeout, api)
		faults = append(faults, strictyaml.Under(place(i), err))
		registrations[i] = registration
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return registrations, nil
}

// Check returns the errors that Build would, and keeps nothing.
func Check(entries []Entry) error {
	_, err := Build(entries, maxTimeout, API{
		Logger:  slog.New(slog.DiscardHandler),
		Meter:   noop.Meter{},
		IsLocal: func(presence.UserID) bool { return false },
	})
	return err
}

// Undeliverable returns the joined errors, each a *fault.Field whose path begins with
// modules[i], about parts of valid entries that can never deliver anything.
func Undeliverable(entries []Entry, isLocal func(presence.UserID) bool) error {
	table := Table()
	var found []error
	for i, entry := range entries {
		api := API{Logger: slog.New(slog.DiscardHandler), Meter: noop.Meter{}, IsLocal: isLocal, Warn: func(err error) {
			found = append(found, fault.Under(place(i)+".config", err))
		}}
		_, _ = entry.build(table, maxTimeout, api) // Build tells of its faults.
	}
	return errors.Join(found...)
}

func (e Entry) build(table map[string]Factory, defaultTimeout time.Duration, api API) (routing.Registration, error) {
	faults := []error{e.validate(table)}
	var router routing.Router
	if factory, known := table[e.Module]; known {
		made, err := factory(e.Config, api)
		faults = append(faults, strictyaml.Under("config", err))
		router = made
	}
	return routing.Registration{
		Name:    e.RouterName(),
		Router:  router,
		Timeout: cmp.Or(e.Timeout, defaultTimeout),
		OnError: cmp.Or(e.OnError, routing.Skip),
	}, errors.Join(faults...)
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (e Entry) validate(table map[string]Factory) error {
	return errors.Join(
		checkModule(e.Module, table),
		fault.Check(e.Name == "" || namePattern.MatchString(e.Name), "name", e.Name, "at most 64 of A-Z, a-z, 0-9, _, . and -"),
		e.checkPolicy(),
		fault.Check(e.Timeout == 0 || minTimeout <= e.Timeout && e.Timeout <= maxTimeout,
			"timeout", e.Timeout, fmt.Sprintf("%v to %v", minTimeout, maxTimeout)),
	)
}

func (e Entry) checkPolicy() error {
	switch e.OnError {
	case "", routing.Skip, routing.Retry, routing.DeadLetter:
		return nil
	default:
		return &fault.Field{Path: "on_error", Value: string(e.OnError), Bound: "skip, retry or dead_letter"}
	}
}

func checkModule(name string, table map[string]Factory) error {
	bound := "one of " + strings.Join(Names(), ", ")
	if name == "" {
		return &fault.Field{Path: "module", Bound: bound}
	}
	_, known := table[name]
	if closest := strictyaml.Closest(name, Names()); closest != "" {
		bound += "; did you mean " + closest + "?"
	}
	return fault.Check(known, "module", name, bound)
}

func checkCount(entries int) error {
	if entries <= routing.MaxRegistrations {
		return nil
	}
	return &fault.Field{Path: "modules", Err: fmt.Errorf("%d entries, at most %d are allowed", entries, routing.MaxRegistrations)}
}

// checkNames finds routers that would share a name, which names the metrics and
// the reasons of a delivery.
func checkNames(entries []Entry) error {
	first := make(map[string]int)
	var faults []error
	for i, entry := range entries {
		name := entry.RouterName()
		earlier, taken := first[name]
		switch {
		case name == "":
		case taken:
			faults = append(faults, &fault.Field{
				Path: place(i) + ".name", Value: name, Bound: "a name of its own: " + place(earlier) + " has this one",
			})
		default:
			first[name] = i
		}
	}
	return errors.Join(faults...)
}

func place(i int) string { return fmt.Sprintf("modules[%d]", i) }
