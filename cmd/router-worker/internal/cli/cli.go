package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
)

// The exit codes.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2 // wrong usage or configuration
)

// Surroundings is what a process has around it.
type Surroundings struct {
	Args    []string // without the name of the program
	Environ []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Version string // of the release, "" for what the build knows
}

// Main runs one command and returns the exit code. The first SIGINT or SIGTERM
// ends the command in good order; at the second the process exits at once. SIGHUP
// ends it in good order too, unless it is a service.
func Main(s Surroundings) int {
	p := &program{Surroundings: s}
	ctx, stop := untilSignal(context.Background(), p.hangUp)
	defer stop()
	root := p.root()
	root.SetArgs(s.Args)
	command, err := root.ExecuteContextC(ctx)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, new(*usageError)):
		p.complain(err)
		return ExitUsage
	case !p.began:
		p.complain(fmt.Errorf("%w: see %s --help", err, command.CommandPath()))
		return ExitUsage
	default:
		p.complain(err)
		return ExitFailed
	}
}

// program is one run of the command line.
type program struct {
	Surroundings

	began   bool                        // the arguments are understood, a command runs
	service atomic.Pointer[slog.Logger] // of a command that outlives its terminal; nil for another one
	flags   struct {
		config string
		nats   string
		json   bool
	}
}

// hangUp reports whether SIGHUP is to be survived. A service may get it from a
// closing terminal, or from an operator who wants it to read its configuration again.
func (p *program) hangUp() bool {
	log := p.service.Load()
	if log == nil {
		return false
	}
	log.Info("going on after SIGHUP: reload is not supported yet, restart to read the configuration again")
	return true
}

// usageError is the error of wrong usage or configuration.
type usageError struct{ error }

func (u *usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "router-worker",
		Short: "Routes Matrix presence over NATS JetStream",
		Example: `  router-worker demo
  router-worker run --config config.yaml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       p.buildInfo().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommand(p.help())
	p.group(root, p.run(), p.federate(), p.source(), p.demo(), p.publish(), p.deliveries(), p.query(), p.check(), p.topology(), p.status(), p.dead(), p.bench(), p.version())
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	return root
}

// group makes command one that only has subcommands.
func (p *program) group(command *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	command.AddCommand(subcommands...)
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s needs a command: see %[1]s --help", command.CommandPath())
		}
		return unknown(command, args)
	}
	command.SuggestionsMinimumDistance = 2
	return command
}

// does has command do what run says.
func (p *program) does(command *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	if command.ValidArgsFunction == nil && !strings.Contains(command.Use, "FILE") && !strings.Contains(command.Use, "CONFIG") {
		command.ValidArgsFunction = cobra.NoFileCompletions
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		p.began = true
		return run(command.Context(), args)
	}
	return command
}

func (p *program) configFlag(command *cobra.Command) {
	command.Flags().StringVar(&p.flags.config, "config", "", "`file` of the configuration (or ROUTER_WORKER_CONFIG)")
}

func (p *program) natsFlag(command *cobra.Command) {
	command.Flags().StringVar(&p.flags.nats, "nats", "", "`URL` of the NATS servers, instead of the configured one")
}

func (p *program) jsonFlag(command *cobra.Command) {
	command.Flags().BoolVar(&p.flags.json, "json", false, "write JSON")
}

// clientFlags are those of a command that is a client of NATS.
func (p *program) clientFlags(command *cobra.Command) {
	p.configFlag(command)
	p.natsFlag(command)
	p.jsonFlag(command)
}

// complain writes an error; faults of a configuration have lines of their own, for
// editors that jump to them.
func (p *program) complain(err error) {
	text := err.Error()
	if faults, ok := errors.AsType[*configError](err); ok {
		text = faults.Error()
		text = plural.Of(strings.Count(text, "\n")+1, "fault", "faults") + " in the configuration:\n" + text
	}
	_, _ = fmt.Fprintf(p.Stderr, "router-worker: %s\n", terminal.EscapeLines(text))
}

// say writes a line for people to stdout.
func (p *program) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Stdout, format+"\n", args...)
}

// note writes a line beside the output, to stderr.
func (p *program) note(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Stderr, format+"\n", args...)
}
