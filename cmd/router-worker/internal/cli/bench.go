package cli

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/bench"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/topology"
)

func (p *program) bench() *cobra.Command {
	flags := benchFlags{config: bench.DefaultConfig()}
	c := &flags.config
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
  router-worker bench --full --json > bench.json
  router-worker bench growth --charts charts`,
		Args: takes(0, 0),
	}
	p.jsonFlag(command)
	p.natsFlag(command)
	set := command.Flags()
	flags.add(command, "file", "memory")
	set.IntSliceVar(&c.Workers, "workers", c.Workers, "`workers` that share the work")
	set.IntSliceVar(&c.Recipients, "recipients", c.Recipients, "`recipients` of each update, drawn from 100,000")
	set.IntVar(&c.FanIn, "fan-in", c.FanIn, "`recipients` who receive everything, 0 to leave that out")
	set.BoolVar(&c.Raw, "raw", c.Raw, "measure fast ingest and consuming too")
	set.BoolVar(&c.Latency, "latency", c.Latency, "measure latency too")
	set.BoolVar(&flags.full, "full", false, "replicas 1 and 3, one and two workers, 3 s each, where nothing else is said")
	set.StringArrayVar(&flags.programs, "program", nil, "`NAME=PATH` of another program to measure, run as PATH --config FILE; may be repeated")
	command.AddCommand(p.benchGrowth(), p.benchServer())
	return p.does(command, func(ctx context.Context, _ []string) error {
		if flags.full {
			flags.fill(command)
		}
		if err := flags.parse(p.flags.nats); err != nil {
			return err
		}
		b, err := bench.New(*c, p.benchProgress())
		if err != nil {
			return &usageError{err}
		}
		return benchmark(ctx, p, b.Run)
	})
}

func (p *program) benchGrowth() *cobra.Command {
	flags := benchFlags{config: bench.DefaultConfig()}
	var charts string
	command := &cobra.Command{
		Use:   "growth",
		Short: "Measure how cost grows with recipients, users, partitions, workers and backlog",
		Example: `  router-worker bench growth
  router-worker bench growth --storage memory --charts charts`,
		Args: takes(0, 0),
	}
	p.jsonFlag(command)
	p.natsFlag(command)
	flags.config.Rounds = 3
	flags.add(command, "file")
	command.Flags().StringVar(&charts, "charts", "", "`directory` to write charts to, as SVG")
	return p.does(command, func(ctx context.Context, _ []string) error {
		if err := flags.parse(p.flags.nats); err != nil {
			return err
		}
		g, err := bench.NewGrowth(flags.config, p.benchProgress())
		if err != nil {
			return &usageError{err}
		}
		return benchmark(ctx, p, func(ctx context.Context) (bench.GrowthReport, error) {
			report, err := g.Run(ctx)
			if err == nil && charts != "" {
				err = report.WriteCharts(charts)
			}
			return report, err
		})
	})
}

// benchFlags are those of a benchmark.
type benchFlags struct {
	config   bench.Config
	storages []string
	programs []string
	full     bool
}

func (f *benchFlags) add(command *cobra.Command, storages ...string) {
	flags, c := command.Flags(), &f.config
	flags.StringSliceVar(&f.storages, "storage", storages, "`storages` of the streams")
	flags.IntSliceVar(&c.Replicas, "replicas", c.Replicas, "`replicas` of the streams; 3 starts a cluster")
	flags.IntVar(&c.Users, "users", c.Users, "`users` with routes; fewer where those would hold more than 200,000 recipients")
	flags.IntVar(&c.Partitions, "partitions", c.Partitions, "`partitions` of the updates")
	flags.IntVar(&c.Rounds, "rounds", c.Rounds, "`rounds` of which the median counts")
	flags.DurationVar(&c.Duration, "duration", c.Duration, "`time` that each measurement is to take, about")
}

// parse fills in what flags say in words.
func (f *benchFlags) parse(url string) error {
	f.config.Storages = nil
	for _, storage := range f.storages {
		f.config.Storages = append(f.config.Storages, topology.Storage(storage))
	}
	programs, err := parsePrograms(f.programs)
	if err != nil {
		return err
	}
	f.config.URL, f.config.Programs = url, programs
	if url == "" {
		return nil
	}
	nats := config.Default().NATS
	nats.URL = config.URL(url)
	if err := nats.Validate(); err != nil {
		return usagef("--nats %s", fault.Fields(err)[0].Message())
	}
	return nil
}

// fill sets what --full asks for and no flag does.
func (f *benchFlags) fill(command *cobra.Command) {
	c := &f.config
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

func (p *program) benchProgress() bench.Progress {
	return terminal.NewProgress(p.Stderr, 0).Step
}

// benchmark runs a benchmark and writes its report.
func benchmark[R interface{ WriteText(io.Writer) error }](ctx context.Context, p *program, run func(context.Context) (R, error)) error {
	report, err := run(ctx)
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
		Args:    takes(1, 1),
		Hidden:  true,
	}
	return p.does(command, func(ctx context.Context, args []string) error {
		return bench.Serve(ctx, args[0], p.Stdin, p.Stdout)
	})
}
