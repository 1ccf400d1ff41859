package modules

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"time"

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

	decoded *Module // Config; nil before Check, and after it if there were faults
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
// *strictyaml.Fault whose path begins with modules[i], or one of a file that a config
// names.
func Build(entries []Entry, defaultTimeout time.Duration, api API) ([]routing.Registration, error) {
	if err := Check(entries); err != nil {
		return nil, err
	}
	registrations := make([]routing.Registration, len(entries))
	for i, entry := range entries {
		router, err := entry.decoded.New(api)
		if err != nil {
			return nil, strictyaml.Under(place(i), strictyaml.Under("config", err))
		}
		registrations[i] = routing.Registration{
			Name:    entry.RouterName(),
			Router:  router,
			Timeout: cmp.Or(entry.Timeout, defaultTimeout),
			OnError: cmp.Or(entry.OnError, routing.Skip),
		}
	}
	return registrations, nil
}

// Check returns the faults that Build would. A config without any stays decoded: it is
// not decoded again by what is called with the same entries later.
func Check(entries []Entry) error {
	table := Table()
	faults := []error{checkCount(len(entries)), checkNames(entries)}
	for i := range entries {
		faults = append(faults, strictyaml.Under(place(i), errors.Join(entries[i].validate(table), entries[i].decode(table))))
	}
	return errors.Join(faults...)
}

// decode decodes the config unless that was done.
func (e *Entry) decode(table map[string]Factory) error {
	factory, known := table[e.Module]
	if !known || e.decoded != nil {
		return nil
	}
	module, err := factory(e.Config)
	if err != nil {
		return strictyaml.Under("config", err)
	}
	e.decoded = &module
	return nil
}

// Files returns the SHA-256 of the content of each file that the config names, by the
// key that names it. It knows those of entries that Check was called with.
func (e *Entry) Files() map[string][sha256.Size]byte {
	if e.decoded == nil {
		return nil
	}
	return e.decoded.Files
}

// Users yields the users that the configs name, once for each time, of entries that
// Check was called with.
func Users(entries []Entry) iter.Seq[presence.UserID] {
	return func(yield func(presence.UserID) bool) {
		for _, entry := range entries {
			if entry.decoded == nil || entry.decoded.Users == nil {
				continue
			}
			for user := range entry.decoded.Users {
				if !yield(user) {
					return
				}
			}
		}
	}
}

// Undeliverable yields what can never deliver anything in entries that Check was called
// with: each a part of a valid config, with a path that begins with modules[i].
func Undeliverable(entries []Entry, isLocal func(presence.UserID) bool) iter.Seq[*fault.Field] {
	return func(yield func(*fault.Field) bool) {
		for i, entry := range entries {
			if entry.decoded == nil || entry.decoded.Undeliverable == nil {
				continue
			}
			for field := range entry.decoded.Undeliverable(isLocal) {
				field.Path = fault.Join(place(i)+".config", field.Path)
				if !yield(field) {
					return
				}
			}
		}
	}
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
