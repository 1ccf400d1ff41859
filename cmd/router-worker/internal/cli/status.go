package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/stream/status"
)

// The bounds of --interval.
const (
	shortestInterval = 500 * time.Millisecond
	longestInterval  = time.Hour
)

type statusFlags struct {
	watch    bool
	interval time.Duration
	late     time.Duration
}

func (p *program) status() *cobra.Command {
	var flags statusFlags
	command := &cobra.Command{
		Use:   "status",
		Short: "Show workers, partitions, backlog and dead letters",
		Long: `Show which workers there are and which partitions each has, how far every partition
is, what is pending and for how long, how many dead letters are kept, and what calls
for attention. It is read from the streams: no worker has to run.`,
		Example: `  router-worker status
  router-worker status --watch --interval 1s
  router-worker status --json`,
		Args: takes(0, 0),
	}
	p.clientFlags(command)
	command.Flags().BoolVar(&flags.watch, "watch", false, "show it again and again, on a terminal")
	command.Flags().DurationVar(&flags.interval, "interval", 2*time.Second, "`time` between two looks of --watch, 500ms to 1h")
	command.Flags().DurationVar(&flags.late, "late", 10*time.Second, "warn of updates that have been pending for longer than this `time`")
	return p.does(command, func(ctx context.Context, _ []string) error {
		if err := p.checkStatus(flags); err != nil {
			return err
		}
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			if flags.watch {
				return p.watchStatus(ctx, s, flags)
			}
			return p.showStatus(ctx, s, flags)
		})
	})
}

func (p *program) checkStatus(flags statusFlags) error {
	_, isTerminal := terminal.NewScreen(p.Stdout)
	switch {
	case flags.watch && p.flags.json:
		return usagef("--watch and --json exclude each other")
	case flags.watch && !isTerminal:
		return usagef("--watch needs a terminal: for programs there is --json")
	case flags.interval < shortestInterval || flags.interval > longestInterval:
		return usagef("--interval is %v: want %v to %v", flags.interval, shortestInterval, longestInterval)
	case flags.late < 0:
		return usagef("--late is %v: want 0s or more", flags.late)
	default:
		return nil
	}
}

// statusReport is what status writes with --json.
type statusReport struct {
	status.Status

	Warnings []string `json:"warnings"`
}

func (p *program) showStatus(ctx context.Context, s *session, flags statusFlags) error {
	status, err := status.Read(ctx, s.js.Conn(), s.config.Streams.Prefix, s.diagnosis()...)
	if err != nil {
		return err
	}
	if p.flags.json {
		return p.writeJSON(statusReport{Status: status, Warnings: append([]string{}, status.Warnings(flags.late)...)})
	}
	p.say("%s", strings.TrimRight(statusText(status, flags.late), "\n"))
	return nil
}

// watchStatus shows the status until ctx ends. While it cannot be read, it says
// why.
func (p *program) watchStatus(ctx context.Context, s *session, flags statusFlags) error {
	screen, _ := terminal.NewScreen(p.Stdout)
	tick := time.NewTicker(flags.interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		status, err := status.Read(ctx, s.js.Conn(), s.config.Streams.Prefix, s.diagnosis()...)
		text := statusText(status, flags.late)
		if err != nil {
			text = terminal.EscapeLines(explain(s.diagnosed(ctx, err)).Error())
		}
		if ctx.Err() != nil {
			break
		}
		if err := screen.Show(text); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if cause := context.Cause(ctx); !errors.As(cause, new(*signalError)) {
		return cause
	}
	return nil
}
