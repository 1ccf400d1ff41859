package operate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/stream"
)

// The bounds of what is left to do once the worker has stopped.
const (
	abandonedTimeout = time.Second
	lastTimeout      = 5 * time.Second
)

// Process is a worker process.
type Process struct {
	Config  config.Config
	Environ []string // for the variables of OpenTelemetry
	Version string
	Log     *slog.Logger
}

// Run connects and routes until ctx ends, then takes no more, commits what is
// routed and returns nil. The error says what kept it from starting, from going on
// or from committing the rest.
func (p Process) Run(ctx context.Context) error {
	c := p.Config
	c.Worker.ID = cmp.Or(c.Worker.ID, rand.Text()[:8])
	p.Log.Info("starting", "version", p.Version, "worker", c.Worker.ID, "config_hash", config.Hash(c),
		"modules", len(c.Modules), "nats", c.NATS.URL)
	for _, warning := range c.Warnings() {
		p.Log.Warn("the configuration has what can never work", "warning", warning)
	}
	answering, err := QueryConnectOptions(c.NATS)
	if err != nil {
		return err
	}
	return p.connected(ctx, c.Worker.ID, func(ctx context.Context, nc *nats.Conn, t *Telemetry, ready *Readiness) error {
		return RunWorker(ctx, nc, c, t, ready, p.Log, stream.WithQueryConnection(answering...))
	})
}

// work is what a process does with a connection until ctx ends.
type work func(ctx context.Context, nc *nats.Conn, t *Telemetry, ready *Readiness) error

// connected does work, with everything around it that a process has; id is what
// telemetry calls the process.
func (p Process) connected(ctx context.Context, id string, do work) error {
	c := p.Config
	options, err := ConnectOptions(c.NATS)
	if err != nil {
		return err
	}
	warnOfModes(p.Log, c.NATS)
	telemetry, err := StartTelemetry(ctx, c.Telemetry, Identity{Version: p.Version, Worker: id}, p.Environ, p.Log)
	if err != nil {
		return err
	}
	defer p.last(ctx, telemetry.Shutdown)
	var ready Readiness
	if c.HTTP.Listen != "" {
		server, err := StartHTTP(ctx, c.HTTP.Listen, Handler(c.HTTP, &ready, telemetry.Metrics), p.Log)
		if err != nil {
			return err
		}
		defer p.last(ctx, server.Shutdown)
	}
	ready.Waiting("connecting to NATS")
	nc, err := Connect(ctx, c.NATS, p.Log, options...)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() {
		ready.Stop() // before anybody can read that it stops
		p.Log.Info("stopping", "cause", context.Cause(ctx))
	})()
	if err := do(ctx, nc, telemetry, &ready); err != nil {
		return err
	}
	p.Log.Info("stopped")
	return nil
}

// Connect connects within the configured time.
func Connect(ctx context.Context, c config.NATS, log *slog.Logger, options ...nats.Option) (*nats.Conn, error) {
	connecting, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	nc, err := stream.Connect(connecting, c.URL.Reveal(), log, options...)
	if err != nil && errors.Is(connecting.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w (tried for %v)", err, c.ConnectTimeout)
	}
	return nc, err
}

// last does what is left to do at the end.
func (p Process) last(ctx context.Context, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTimeout)
	defer cancel()
	if err := do(ctx); err != nil {
		p.Log.Warn("shutting down", "error", err)
	}
}

// ignoreEnd returns nil where err only says that ctx has ended.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
