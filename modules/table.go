package modules

import (
	"crypto/sha256"
	"iter"
	"log/slog"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/metric"
	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/modules/broadcast"
	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// API is what a module may use of the outside world, as a Synapse module gets its
// ModuleApi.
type API struct {
	Logger  *slog.Logger
	Meter   metric.Meter
	IsLocal func(presence.UserID) bool // whether the user is of one of server_names
}

// Module is the config of an entry: decoded, valid, and with the files read that it
// names. Only New is required.
type Module struct {
	New           func(API) (routing.Router, error)                               // makes the router
	Users         iter.Seq[presence.UserID]                                       // whom the config names
	Undeliverable func(isLocal func(presence.UserID) bool) iter.Seq[*fault.Field] // what can never deliver anything
	Files         map[string][sha256.Size]byte                                    // SHA-256 of each file, by the key that names it
}

// Factory decodes the config of an entry; node is nil where the entry has none. It
// reports all faults of the config, joined. It reads files that the config names and
// does no other I/O: it also runs where a configuration is only checked.
type Factory func(node *yaml.Node) (Module, error)

// Table returns the factory of every module by the module's name.
func Table() map[string]Factory {
	return map[string]Factory{
		"broadcast": configured(func(config *broadcast.Config) (Module, error) {
			return Module{
				New:   func(API) (routing.Router, error) { return broadcast.New(*config) },
				Users: slices.Values(config.Users),
			}, nil
		}),
		"static": configured(func(config *static.Config) (Module, error) {
			if err := config.ReadFile(); err != nil {
				return Module{}, err
			}
			return Module{
				New:           func(API) (routing.Router, error) { return static.New(*config) },
				Users:         config.NamedUsers(),
				Undeliverable: config.Undeliverable,
				Files:         config.Files(),
			}, nil
		}),
	}
}

// Names returns the names of the modules in alphabetical order.
func Names() []string { return slices.Sorted(maps.Keys(Table())) }

// validConfig is a module's Config by pointer.
type validConfig[C any] interface {
	*C
	strictyaml.Validator
}

// configured returns the factory that decodes a C strictly, validates it and hands it
// to describe.
func configured[C any, P validConfig[C]](describe func(config P) (Module, error)) Factory {
	return func(node *yaml.Node) (Module, error) {
		config := P(new(C))
		if err := strictyaml.Load(node, config); err != nil {
			return Module{}, err
		}
		return describe(config)
	}
}
