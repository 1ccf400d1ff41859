package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/stream/topology"
)

func (p *program) topology() *cobra.Command {
	var allowWeaker bool
	plan := &cobra.Command{
		Use:   "plan",
		Short: "Show what apply would change",
		Long: `Show what apply would change, and change nothing. Where apply would refuse to, the
exit code is 1. With --allow-weaker it is shown what apply with that flag would do.`,
		Example: "  router-worker topology plan --config config.yaml",
		Args:    takes(0, 0),
	}
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Create the streams that are missing and update those that differ",
		Long: `Create the streams that are missing and update those that differ. Where a change
would lose data or let fewer servers fail, nothing is changed, and the exit code is
1. With --allow-weaker these changes are made as well, such as fewer replicas or a
shorter max_age. What the server cannot change stays refused.`,
		Example: `  router-worker topology apply --config config.yaml
  router-worker topology apply --config config.yaml --allow-weaker`,
		Args: takes(0, 0),
	}
	for _, command := range []*cobra.Command{plan, apply} {
		p.clientFlags(command)
		command.Flags().BoolVar(&allowWeaker, "allow-weaker", false, "allow changes that delete messages or let fewer servers fail")
	}
	return p.group(
		&cobra.Command{
			Use:     "topology",
			Short:   "Plan or apply the streams, change the number of partitions, repair checkpoints",
			Example: "  router-worker topology plan --config config.yaml",
		},
		p.does(plan, p.changes((*topology.Streams).Plan, &allowWeaker)),
		p.does(apply, p.changes((*topology.Streams).Apply, &allowWeaker)),
		p.repartition(),
		p.repair(),
	)
}

// changes returns the command that has the streams compared, or changed too.
func (p *program) changes(with func(*topology.Streams, context.Context) ([]topology.Change, error), allowWeaker *bool) func(context.Context, []string) error {
	return func(ctx context.Context, _ []string) error {
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			var opts []topology.Option
			if *allowWeaker {
				opts = append(opts, topology.AllowWeaker())
			}
			streams, err := topology.New(s.js, s.config.Streams, opts...)
			if err != nil {
				return err
			}
			changes, err := with(streams, ctx)
			if err == nil {
				err = topology.Refusal(changes)
			}
			if err != nil && changes == nil {
				return err
			}
			return errors.Join(err, p.showChanges(changes))
		})
	}
}

func (p *program) showChanges(changes []topology.Change) error {
	if p.flags.json {
		return p.writeJSON(map[string]any{"changes": append([]topology.Change{}, changes...)})
	}
	if len(changes) == 0 {
		p.say("nothing to change")
	}
	for _, change := range changes {
		p.say("%s", terminal.Escape(change.String()))
	}
	return nil
}
