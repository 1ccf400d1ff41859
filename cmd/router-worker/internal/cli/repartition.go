package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/topology"
)

func (p *program) repartition() *cobra.Command {
	var wait time.Duration
	command := &cobra.Command{
		Use:   "repartition N",
		Short: "Change the number of partitions of a deployment while it runs",
		Long: `Change the number of partitions of a deployment while it runs. Nothing is lost,
repeated or reordered; deliveries pause until the workers have committed what was
published before. Interrupt it at any time, and run it again to go on. Set
streams.partitions to the same number afterwards.`,
		Example: "  router-worker topology repartition 24 --config config.yaml",
		Args:    takes(1, 1),
	}
	p.clientFlags(command)
	command.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for workers while they do not go on")
	return p.does(command, func(ctx context.Context, args []string) error {
		partitions, err := strconv.Atoi(args[0])
		if err != nil {
			return usagef("N is %q: want a number of partitions", args[0])
		}
		if wait < 0 {
			return usagef("--wait is %v: want 0 or more", wait)
		}
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			line := terminal.NewLine(p.Stderr)
			config := topology.RepartitionConfig{Prefix: s.config.Streams.Prefix, Partitions: partitions, Wait: wait, Progress: p.follow(line)}
			if err := config.Validate(); err != nil {
				return &usageError{err}
			}
			r, err := topology.NewRepartition(s.js, config)
			if err != nil {
				return err
			}
			done, err := r.Run(ctx)
			line.Clear()
			if err != nil {
				return err
			}
			return p.showRepartitioned(done)
		})
	})
}

// follow returns what says how far a change is: on a terminal all the time,
// elsewhere once for each step.
func (p *program) follow(line *terminal.Line) func(topology.Progress) {
	var last topology.Step
	return func(now topology.Progress) {
		if line.Show("%s: %d of %s", doing(now.Step), now.Done, plural.Of(now.Total, "partition", "partitions")) {
			return
		}
		if now.Step != last {
			p.note("%s", doing(now.Step))
		}
		last = now.Step
	}
}

// doing says for people what a step does.
func doing(step topology.Step) string {
	switch step {
	case topology.Switch:
		return "storing updates in the new layout"
	case topology.Drain:
		return "waiting until workers have committed the updates before"
	case topology.Position:
		return "moving the positions"
	case topology.HandOver:
		return "waiting until workers have claimed the new partitions"
	default:
		return string(step)
	}
}

func (p *program) showRepartitioned(done topology.Repartitioned) error {
	if p.flags.json {
		return p.writeJSON(done)
	}
	if !done.Changed {
		p.say("nothing to change: the streams have %s", plural.Of(done.Now.Partitions, "partition", "partitions"))
		return nil
	}
	if done.Overtaken > 0 {
		p.note("the server used the new layout before it could write it down, as if its disk was full: updates from %d on are delivered after newer ones of their users, which readers drop by (epoch, sequence)", done.Overtaken)
	}
	p.say("%s %d now; set streams.partitions to %[2]d", plural.Of(done.Before.Partitions, "partition is", "partitions are"), done.Now.Partitions)
	return nil
}
