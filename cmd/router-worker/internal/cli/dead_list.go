package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/deadletter"
	"github.com/presence-router/presence-router/stream/wire"
)

func (p *program) deadList() *cobra.Command {
	var limit int
	var only reasonFlag
	command := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, oldest first",
		Example: "  router-worker dead list --reason malformed --limit 10",
		Args:    takes(0, 0),
	}
	p.clientFlags(command)
	only.add(command)
	command.Flags().IntVar(&limit, "limit", 100, "list at most `N` letters, 0 for all")
	return p.does(command, func(ctx context.Context, _ []string) error {
		reason, err := only.parse()
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit is %d: want 0 or more", limit)
		}
		return p.withLetters(ctx, func(ctx context.Context, letters *deadletter.Store) error {
			return p.listLetters(ctx, letters, reason, limit)
		})
	})
}

func (p *program) listLetters(ctx context.Context, letters *deadletter.Store, reason wire.Reason, limit int) error {
	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	defer table.Flush() //nolint:errcheck // Nobody reads stdout any more.
	listed := 0
	for kept, err := range letters.All(ctx, reason) {
		if p.passesOver(err) {
			break
		}
		if err != nil {
			return err
		}
		if limit > 0 && listed == limit {
			p.note("and more: --limit 0 lists all")
			return nil
		}
		if err := p.listLetter(table, kept, listed == 0); err != nil {
			return err
		}
		listed++
	}
	if listed == 0 && !p.flags.json {
		p.say("no dead letters")
	}
	return nil
}

func (p *program) listLetter(table io.Writer, kept deadletter.Kept, isFirst bool) error {
	if p.flags.json {
		return p.writeJSON(kept)
	}
	if isFirst {
		_, _ = fmt.Fprintln(table, "ID\tKEPT\tREASON\tSUBJECT\tERROR")
	}
	_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", kept.ID, kept.Kept.Local().Format(time.DateTime),
		terminal.Escape(string(kept.Letter.Reason)), terminal.Escape(kept.Letter.Subject), terminal.Escape(kept.Letter.Error))
	return nil
}

func (p *program) deadShow() *cobra.Command {
	command := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a dead letter with its update",
		Example: "  router-worker dead show 17",
		Args:    takes(1, 1),
		ValidArgsFunction: func(command *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeIDs(command, args, typed)
		},
	}
	p.clientFlags(command)
	return p.does(command, func(ctx context.Context, args []string) error {
		id, err := parseID(args[0])
		if err != nil {
			return err
		}
		return p.withLetters(ctx, func(ctx context.Context, letters *deadletter.Store) error {
			kept, err := letters.Get(ctx, id)
			if err != nil {
				return err
			}
			if p.flags.json {
				return p.writeJSON(kept)
			}
			p.showLetter(kept)
			return nil
		})
	})
}

func (p *program) showLetter(kept deadletter.Kept) {
	letter := kept.Letter
	table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) { _, _ = fmt.Fprintf(table, "%s\t%s\n", name, terminal.Escape(value)) }
	row("id", strconv.FormatUint(kept.ID, 10))
	row("kept", kept.Kept.Local().Format(time.DateTime))
	row("reason", string(letter.Reason))
	row("error", letter.Error)
	if letter.Router != "" {
		row("router", letter.Router)
	}
	row("subject", letter.Subject)
	row("update", fmt.Sprintf("#%d, stored %s", letter.Sequence, letter.Time.Local().Format(time.DateTime)))
	for _, name := range slices.Sorted(maps.Keys(letter.Headers)) {
		row("header "+name, strings.Join(letter.Headers[name], ", "))
	}
	size := plural.Of(len(letter.Payload), "byte", "bytes")
	if letter.Truncated {
		size += ", cut off"
	}
	row("payload", size)
	_ = table.Flush()
	p.say("%s", terminal.EscapeLines(string(letter.Payload)))
}
