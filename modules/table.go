package modules

import (
	"log/slog"
	"maps"
	"slices"

	"go.opentelemetry.io/otel/metric"
	"go.yaml.in/yaml/v4"

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

	// Warn takes what is wrong with a config that is valid: joined *fault.Field about
	// what can never deliver anything. It is nil where nobody asks.
	Warn func(error)
}

// Factory makes a router from the config of an entry; node is nil where the entry
// has none. It reports all faults of the config, joined, and does no I/O: it also
// runs where a configuration is only checked.
type Factory func(node *yaml.Node, api API) (routing.Router, error)

// Table returns the factory of every module by the module's name.
func Table() map[string]Factory {
	return map[string]Factory{
		"broadcast": configured(func(config broadcast.Config, _ API) (routing.Router, error) {
			return broadcast.New(config)
		}),
		"static": configured(func(config static.Config, api API) (routing.Router, error) {
			if api.Warn != nil {
				api.Warn(config.Undeliverable(api.IsLocal))
			}
			return static.New(config)
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

// configured returns the factory that decodes a C strictly, validates it and
// hands it to build.
func configured[C any, P validConfig[C]](build func(config C, api API) (routing.Router, error)) Factory {
	return func(node *yaml.Node, api API) (routing.Router, error) {
		var config C
		if err := strictyaml.Load(node, P(&config)); err != nil {
			return nil, err
		}
		router, err := build(config, api)
		if err != nil {
			return nil, err
		}
		return router, nil
	}
}
