package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/stream"
)

func (p *program) topology() *cobra.Command {
	plan := &cobra.Command{
		Use:   "plan",
		Short: "Show what apply would change",
		Long: `Show what apply would change, and change nothing. Where apply would refuse to, the
exit code is 1.`,
		Example: "  router-worker topology plan --config config.yaml",
		Args:    takes(0, 0),
	}
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Create the streams that are missing and update those that differ",
		Long: `Create the streams that are missing and update those that differ. Where a change
would lose data, nothing is changed, and the exit code is 1.`,
		Example: "  router-worker topology apply --config config.yaml",
		Args:    takes(0, 0),
	}
	p.clientFlags(plan)
	p.clientFlags(apply)
	return p.group(
		&cobra.Command{
			Use:     "topology",
			Short:   "Plan or apply the streams, change the number of partitions, repair checkpoints",
			Example: "  router-worker topology plan --config config.yaml",
		},
		p.does(plan, p.changes((*stream.Topology).Plan)),
		p.does(apply, p.changes((*stream.Topology).Apply)),
		p.repartition(),
		p.repair(),
	)
}

// changes returns the command that has the streams compared, or changed too.
func (p *program) changes(with func(*stream.Topology, context.Context) ([]stream.Change, error)) func(context.Context, []string) error {
	return func(ctx context.Context, _ []string) error {
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			topology, err := stream.NewTopology(s.js, s.config.Streams)
			if err != nil {
				return err
			}
			changes, err := with(topology, ctx)
			if err == nil {
				err = stream.Refusal(changes)
			}
			if err != nil && changes == nil {
				return err
			}
			return errors.Join(err, p.showChanges(changes))
		})
	}
}

func (p *program) showChanges(changes []stream.Change) error {
	if p.flags.json {
		return p.writeJSON(map[string]any{"changes": append([]stream.Change{}, changes...)})
	}
	if len(changes) == 0 {
		p.say("nothing to change")
	}
	for _, change := range changes {
		p.say("%s", terminal.Escape(change.String()))
	}
	return nil
}
