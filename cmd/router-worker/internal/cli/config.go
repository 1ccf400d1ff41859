package cli

import (
	"slices"
	"strings"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/internal/fault"
)

// configError is the error about faults of the configuration, one a line.
type configError struct{ error }

func (c *configError) Unwrap() error { return c.error }

func faulty(err error) error { return &usageError{&configError{err}} }

// load returns the configuration of a command that routes.
func (p *program) load() (config.Config, error) {
	c, err := p.loadFrom(p.Environ)
	if err != nil && p.flags.config == "" && !sets(p.Environ, config.FileVariable) {
		p.note("router-worker: no configuration file is named, and %s names none", config.FileVariable)
	}
	return c, err
}

// loadForClient returns the configuration of a command that only talks to NATS:
// without a file it needs no server_names.
func (p *program) loadForClient() (config.Config, error) {
	environ := p.Environ
	if p.flags.config == "" && !sets(environ, config.FileVariable) && !sets(environ, serverNamesVariable) {
		environ = append(slices.Clone(environ), serverNamesVariable+"=localhost")
	}
	return p.loadFrom(environ)
}

const serverNamesVariable = "ROUTER_WORKER_SERVER_NAMES"

func sets(environ []string, name string) bool {
	return slices.ContainsFunc(environ, func(variable string) bool { return strings.HasPrefix(variable, name+"=") })
}

func (p *program) loadFrom(environ []string) (config.Config, error) {
	c, err := config.Load(p.flags.config, environ)
	if err != nil {
		return config.Config{}, faulty(err)
	}
	if p.flags.nats == "" {
		return c, nil
	}
	c.NATS.URL = config.URL(p.flags.nats)
	if err := c.NATS.Validate(); err != nil {
		return config.Config{}, usagef("--nats %s", fault.Fields(err)[0].Message())
	}
	return c, nil
}
