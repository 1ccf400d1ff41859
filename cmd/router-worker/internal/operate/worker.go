package operate

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

const scope = "github.com/presence-router/presence-router/modules"

// NewDispatcher returns the dispatcher of the configured modules.
func NewDispatcher(c config.Config, t *Telemetry, log *slog.Logger) (*routing.Dispatcher, error) {
	local := make(map[presence.ServerName]bool, len(c.ServerNames))
	for _, server := range c.ServerNames {
		local[server] = true
	}
	isLocal := func(server presence.ServerName) bool { return local[server] }
	registrations, err := modules.Build(c.Modules, c.Worker.RouterTimeout, modules.API{
		Logger:  log,
		Meter:   t.Meters.Meter(scope),
		IsLocal: func(user presence.UserID) bool { return isLocal(user.Server()) },
	})
	if err != nil {
		return nil, err
	}
	return routing.NewDispatcher(registrations,
		routing.WithLogger(log), routing.WithMeterProvider(t.Meters), routing.WithTracerProvider(t.Tracers),
		routing.WithLocalServers(isLocal))
}

// RunWorker runs a worker on nc until ctx ends, and lets ready know how it is
// doing. The modules of c are of no use to anybody else afterwards.
func RunWorker(
	ctx context.Context, nc *nats.Conn, c config.Config, t *Telemetry, ready *Readiness, log *slog.Logger, opts ...stream.Option,
) error {
	identity := stream.WithIdentity(t.Version, config.Hash(c))
	dropText(c.Modules)
	dispatcher, err := NewDispatcher(c, t, log) //nolint:contextcheck // It counts 0, which needs no context.
	if err != nil {
		return fmt.Errorf("build the modules: %w", err)
	}
	worker, err := stream.NewWorker(nc, dispatcher,
		stream.Config{ServerNames: c.ServerNames, Streams: c.Streams, Worker: c.Worker},
		append(opts, stream.WithLogger(log), stream.WithMeterProvider(t.Meters), stream.WithTracerProvider(t.Tracers), identity)...)
	if err != nil {
		return fmt.Errorf("make the worker: %w", err)
	}
	clear(c.Modules)
	debug.FreeOSMemory() // For a long list of routes that is several times as much as the worker keeps.
	ready.Set(worker.Ready)
	err = worker.Run(ctx)
	leaveBehind(ctx, dispatcher, log)
	return err
}

// dropText lets go of the text of configs that are decoded: for a long list of routes it
// is several times as large as what is built from it.
func dropText(entries []modules.Entry) {
	if modules.Check(entries) != nil {
		return // Build reports it.
	}
	for i := range entries {
		entries[i].Config = nil
	}
}

// leaveBehind gives calls of routers that were abandoned a moment to return.
func leaveBehind(ctx context.Context, dispatcher *routing.Dispatcher, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonedTimeout)
	defer cancel()
	if err := dispatcher.Wait(ctx); err != nil {
		log.Warn("a router does not return", "error", err)
	}
}
