package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/stream/topology"
)

func (p *program) repair() *cobra.Command {
	var sure bool
	var from string
	command := &cobra.Command{
		Use:   "repair",
		Short: "Show what stands in place of checkpoints and is none, and write them again",
		Long: `Show what stands in place of checkpoints and of the layout record and was written by no
worker, such as an acknowledgement that a publisher had the server store there. With
--yes, write what belongs there. Workers do that by themselves; this command is for
what they cannot know. If no checkpoint of a partition is left, --from says where its
workers begin: "oldest" delivers again what is kept of its updates, "newest" loses the
updates that were not delivered, and a number begins with the update of that
sequence. Workers may run meanwhile. The exit code is 1 if something needs a choice.`,
		Example: `  router-worker topology repair
  router-worker topology repair --yes
  router-worker topology repair --from newest --yes`,
		Args: cobra.NoArgs,
	}
	p.clientFlags(command)
	command.Flags().BoolVar(&sure, "yes", false, "write, and do not only show")
	command.Flags().StringVar(&from, "from", "", `where partitions begin that have no checkpoint left: "oldest", "newest" or the `+"`sequence`"+` of an update`)
	return p.does(command, func(ctx context.Context, _ []string) error {
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			r, err := topology.NewRepair(s.js, topology.RepairConfig{Prefix: s.config.Streams.Prefix, From: topology.From(from)})
			if err != nil {
				return &usageError{err}
			}
			with := r.Plan
			if sure {
				with = r.Apply
			}
			mends, err := with(ctx)
			if err != nil && mends == nil {
				return err
			}
			if err == nil {
				err = topology.Unrepaired(mends)
			}
			return errors.Join(err, p.showMends(mends))
		})
	})
}

func (p *program) showMends(mends []topology.Mend) error {
	if p.flags.json {
		return p.writeJSON(map[string]any{"repairs": append([]topology.Mend{}, mends...)})
	}
	if len(mends) == 0 {
		p.say("nothing to repair")
	}
	for _, m := range mends {
		p.say("%s", terminal.Escape(m.String()))
	}
	return nil
}
