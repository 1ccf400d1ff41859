package cli

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/bench"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream"
)

func (p *program) bench() *cobra.Command {
	c := bench.DefaultConfig()
	var full bool
	var programs []string
	command := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast servers and workers are",
		Long: `Measure how fast servers and workers are, and put that in proportion to R: the rate
at which the same server takes messages like the deliveries when nobody waits for an
acknowledgement. Servers and workers are processes of their own, on this machine, and
are gone afterwards; with --nats, servers that run already are measured, in streams
that nobody else uses and that are deleted in the end.

Everything is measured in turn, round after round, and the medians count: what else
the machine does meanwhile is in all of it.`,
		Example: `  router-worker bench
  router-worker bench --storage file --recipients 10 --workers 1,2 --rounds 3
  router-worker bench --full --json > bench.json`,
		Args: cobra.NoArgs,
	}
	p.jsonFlag(command)
	p.natsFlag(command)
	flags := command.Flags()
	storages := flags.StringSlice("storage", []string{"file", "memory"}, "`storages` of the streams")
	flags.IntSliceVar(&c.Replicas, "replicas", c.Replicas, "`replicas` of the streams; 3 starts a cluster")
	flags.IntSliceVar(&c.Workers, "workers", c.Workers, "`workers` that share the work")
	flags.IntSliceVar(&c.Recipients, "recipients", c.Recipients, "`recipients` of each update, drawn from 100,000")
	flags.IntVar(&c.FanIn, "fan-in", c.FanIn, "`recipients` who receive everything, 0 to leave that out")
	flags.IntVar(&c.Users, "users", c.Users, "`users` with routes")
	flags.IntVar(&c.Partitions, "partitions", c.Partitions, "`partitions` of the updates")
	flags.IntVar(&c.Rounds, "rounds", c.Rounds, "`rounds` of which the median counts")
	flags.DurationVar(&c.Duration, "duration", c.Duration, "`time` that each measurement is to take, about")
	flags.BoolVar(&c.Raw, "raw", c.Raw, "measure fast ingest and consuming too")
	flags.BoolVar(&c.Latency, "latency", c.Latency, "measure latency too")
	flags.BoolVar(&full, "full", false, "replicas 1 and 3, one and two workers, 3 s each, where nothing else is said")
	flags.StringArrayVar(&programs, "program", nil, "`NAME=PATH` of another program to measure, run as PATH --config FILE; may be repeated")
	command.AddCommand(p.benchServer())
	return p.does(command, func(ctx context.Context, _ []string) error {
		if full {
			p.fill(command, &c)
		}
		c.URL, c.Storages = p.flags.nats, nil
		for _, storage := range *storages {
			c.Storages = append(c.Storages, stream.Storage(storage))
		}
		var err error
		if c.Programs, err = parsePrograms(programs); err != nil {
			return err
		}
		return p.runBench(ctx, c)
	})
}

// fill sets what --full asks for and no flag does.
func (p *program) fill(command *cobra.Command, c *bench.Config) {
	if !command.Flags().Changed("replicas") {
		c.Replicas = []int{1, 3}
	}
	if !command.Flags().Changed("workers") {
		c.Workers = []int{1, 2}
	}
	if !command.Flags().Changed("duration") {
		c.Duration = 3 * time.Second
	}
}

func parsePrograms(texts []string) ([]bench.Program, error) {
	var programs []bench.Program
	for _, text := range texts {
		name, path, found := strings.Cut(text, "=")
		if !found || name == "" {
			return nil, usagef("--program is %q: want NAME=PATH", text)
		}
		path, err := exec.LookPath(path)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, usagef("--program %s: %w", name, err)
		}
		programs = append(programs, bench.Program{Name: name, Path: path})
	}
	return programs, nil
}

func (p *program) runBench(ctx context.Context, c bench.Config) error {
	if err := c.Validate(); err != nil {
		return &usageError{err}
	}
	if c.URL != "" {
		nats := config.NATS{URL: config.URL(c.URL), ConnectTimeout: clientTimeout}
		if err := nats.Validate(); err != nil {
			return usagef("--nats %s", fault.Fields(err)[0].Message())
		}
	}
	progress := terminal.NewProgress(p.Stderr, 0)
	b, err := bench.New(c, func(done, total int, what string) { progress.Step(done, total, what) })
	if err != nil {
		return err
	}
	report, err := b.Run(ctx)
	progress.Clear()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if p.flags.json {
		return p.writeJSON(report)
	}
	return report.WriteText(p.Stdout)
}

// benchServer is the server's process of a benchmark.
func (p *program) benchServer() *cobra.Command {
	command := &cobra.Command{
		Use:     "server OPTIONS",
		Short:   "Run the NATS server of a benchmark",
		Example: `  router-worker bench server '{"StoreDir":"store"}'`,
		Args:    cobra.ExactArgs(1),
		Hidden:  true,
	}
	return p.does(command, func(ctx context.Context, args []string) error {
		return bench.Serve(ctx, args[0], p.Stdin, p.Stdout)
	})
}
