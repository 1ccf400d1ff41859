package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/deadletter"
	"github.com/presence-router/presence-router/stream/wire"
)

func (p *program) dead() *cobra.Command {
	return p.group(
		&cobra.Command{
			Use:     "dead",
			Short:   "Show, requeue or purge dead letters",
			Example: "  router-worker dead list",
		},
		p.deadList(), p.deadShow(), p.deadRequeue(), p.deadPurge(),
	)
}

// withLetters connects and has do work with the dead letters.
func (p *program) withLetters(ctx context.Context, do func(context.Context, *deadletter.Store) error) error {
	return p.asClient(ctx, func(ctx context.Context, s *session) error {
		letters, err := deadletter.NewStore(s.js, s.config.Streams.Prefix)
		if err != nil {
			return err
		}
		return do(ctx, letters)
	})
}

// reasonFlag is the flag that chooses dead letters by reason.
type reasonFlag struct{ text string }

func (r *reasonFlag) add(command *cobra.Command) {
	command.Flags().StringVar(&r.text, "reason", "", "only letters with this `reason`, such as malformed")
	var names []cobra.Completion
	for _, reason := range wire.Reasons() {
		names = append(names, string(reason))
	}
	_ = command.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

func (r *reasonFlag) parse() (wire.Reason, error) {
	reason := wire.Reason(r.text)
	if r.text != "" && !slices.Contains(wire.Reasons(), reason) {
		return "", usagef("--reason is %q: want one of %s", r.text, wire.Reasons())
	}
	return reason, nil
}

// maxCompleted bounds the dead letters that a shell offers.
const maxCompleted = 100

// completeIDs offers the oldest dead letters. If they cannot be read, it offers none.
func (p *program) completeIDs(command *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var ids []cobra.Completion
	_ = p.withLetters(command.Context(), func(ctx context.Context, letters *deadletter.Store) error {
		for kept, err := range letters.All(ctx, "") {
			if err != nil || len(ids) == maxCompleted {
				return err
			}
			if id := strconv.FormatUint(kept.ID, 10); !slices.Contains(given, id) {
				ids = append(ids, cobra.CompletionWithDesc(id, terminal.Escape(string(kept.Letter.Reason)+" "+kept.Letter.Subject)))
			}
		}
		return nil
	})
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func parseID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, usagef("ID is %q: want a number as dead list shows it", text)
	}
	return id, nil
}

func (p *program) deadRequeue() *cobra.Command {
	var all bool
	var only reasonFlag
	command := &cobra.Command{
		Use:   "requeue ID... | --all",
		Short: "Publish the updates of dead letters again and delete the letters",
		Example: `  router-worker dead requeue 17 18
  router-worker dead requeue --all --reason router_failed`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: p.completeIDs,
	}
	p.clientFlags(command)
	only.add(command)
	command.Flags().BoolVar(&all, "all", false, "requeue every letter that is kept now")
	return p.does(command, func(ctx context.Context, args []string) error {
		reason, err := only.parse()
		if err != nil {
			return err
		}
		if all == (len(args) > 0) || reason != "" && !all {
			return usagef("dead requeue takes IDs, or --all, which --reason goes with")
		}
		ids := make([]uint64, len(args))
		for i, text := range args {
			if ids[i], err = parseID(text); err != nil {
				return err
			}
		}
		return p.withLetters(ctx, func(ctx context.Context, letters *deadletter.Store) error {
			if all {
				if ids, err = p.everyID(ctx, letters, reason); err != nil {
					return err
				}
			}
			return p.requeue(ctx, letters, ids)
		})
	})
}

func (p *program) everyID(ctx context.Context, letters *deadletter.Store, reason wire.Reason) ([]uint64, error) {
	var ids []uint64
	for kept, err := range letters.All(ctx, reason) {
		if p.passesOver(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, kept.ID)
	}
	return ids, nil
}

// passesOver notes an error about messages that are no dead letters.
func (p *program) passesOver(err error) bool {
	if !errors.Is(err, deadletter.ErrForeign) {
		return false
	}
	p.note("%s", terminal.Escape(err.Error()))
	return true
}

// requeue goes on after a letter that cannot be requeued.
func (p *program) requeue(ctx context.Context, letters *deadletter.Store, ids []uint64) error {
	failed := 0
	for _, id := range ids {
		sequence, err := letters.Requeue(ctx, id)
		if ctx.Err() != nil {
			return fmt.Errorf("requeue dead letter %d: %w", id, context.Cause(ctx))
		}
		if err != nil {
			failed++
			p.complain(err)
			continue
		}
		if err := p.requeued(id, sequence); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s not requeued", failed, plural.Of(len(ids), "dead letter is", "dead letters are"))
	}
	if len(ids) == 0 && !p.flags.json {
		p.say("no dead letters")
	}
	return nil
}

func (p *program) requeued(id, sequence uint64) error {
	if p.flags.json {
		return p.writeJSON(map[string]uint64{"id": id, "sequence": sequence})
	}
	p.say("requeued dead letter %d as update %d", id, sequence)
	return nil
}

func (p *program) deadPurge() *cobra.Command {
	var sure bool
	var only reasonFlag
	command := &cobra.Command{
		Use:     "purge --yes",
		Short:   "Delete dead letters",
		Example: "  router-worker dead purge --reason malformed --yes",
		Args:    takes(0, 0),
	}
	p.clientFlags(command)
	only.add(command)
	command.Flags().BoolVar(&sure, "yes", false, "delete them, without asking")
	return p.does(command, func(ctx context.Context, _ []string) error {
		reason, err := only.parse()
		if err != nil {
			return err
		}
		if !sure {
			return usagef("dead purge deletes for good: say so with --yes")
		}
		return p.withLetters(ctx, func(ctx context.Context, letters *deadletter.Store) error {
			purged, err := letters.Purge(ctx, reason)
			if err != nil {
				return err
			}
			if p.flags.json {
				return p.writeJSON(map[string]uint64{"purged": purged})
			}
			p.say("purged %s", plural.Of(purged, "dead letter", "dead letters"))
			return nil
		})
	})
}
