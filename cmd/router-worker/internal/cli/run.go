package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
	"github.com/presence-router/presence-router/internal/fault"
)

func (p *program) run() *cobra.Command {
	command := &cobra.Command{
		Use:   "run",
		Short: "Run a worker until SIGTERM or SIGINT",
		Long: `Run a worker until SIGTERM or SIGINT.

The configuration is the file that --config or ROUTER_WORKER_CONFIG names, and over
it the environment: ROUTER_WORKER_NATS_URL sets nats.url, and so on for every value.
At the first signal the worker takes no more updates, commits what is routed and
exits with 0; a second signal exits at once with 1. SIGHUP is logged and changes
nothing.`,
		Example: `  router-worker run --config config.yaml
  ROUTER_WORKER_SERVER_NAMES=example.com router-worker run --nats nats://127.0.0.1:4222`,
		Args: takes(0, 0),
	}
	p.configFlag(command)
	p.natsFlag(command)
	return p.does(command, p.process(operate.Process.Run))
}

// process returns what loads the configuration and works with it until ctx ends.
func (p *program) process(work func(operate.Process, context.Context) error) func(context.Context, []string) error {
	return func(ctx context.Context, _ []string) error {
		p.service.Store(operate.NewLogger(p.Stderr, config.Default().Log))
		c, err := p.load()
		if err != nil {
			return err
		}
		log := operate.NewLogger(p.Stderr, c.Log)
		p.service.Store(log)
		err = work(operate.Process{Config: c, Environ: p.Environ, Version: p.buildInfo().Version, Log: log}, ctx)
		if errors.As(err, new(*fault.Field)) {
			return faulty(err)
		}
		return explain(err)
	}
}
