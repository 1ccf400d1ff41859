package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/demo"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
)

func (p *program) demo() *cobra.Command {
	var show demo.Demo
	var file string
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show the router at work, with a NATS server inside",
		Long: `Show the router at work, with a NATS server inside: a worker with the example
configuration routes a capture of presence updates, and every delivery is shown, one
line each. It needs nothing but this program and leaves nothing behind.`,
		Example: `  router-worker demo
  router-worker demo --keep --listen 127.0.0.1:4222`,
		Args: takes(0, 0),
	}
	command.Flags().StringVar(&show.Listen, "listen", "", "`address` of the NATS server, host:port; a free port where empty")
	command.Flags().BoolVar(&show.Keep, "keep", false, "go on until Ctrl-C, for others to join in")
	command.Flags().StringVar(&file, "capture", "", "`file` of updates, one JSON object a line, instead of the 670 built in")
	return p.does(command, func(ctx context.Context, _ []string) error {
		if _, _, err := net.SplitHostPort(show.Listen); err != nil && show.Listen != "" {
			return usagef("--listen is %q: want host:port", show.Listen)
		}
		captured, err := p.captured(file)
		if err != nil {
			return err
		}
		defer captured.Close() //nolint:errcheck // It was only read.
		show.Capture, show.Out, show.Version = captured, p.Stdout, p.buildInfo().Version
		show.Log = operate.NewLogger(p.Stderr, config.Log{Level: config.Warn, Format: config.Text})
		// Without this, writing to a pipe that is closed ends the process at once.
		signal.Ignore(syscall.SIGPIPE)
		if err := show.Run(ctx); !errors.Is(err, syscall.EPIPE) {
			return err
		}
		return nil // whoever closed the pipe, such as head, has seen enough
	})
}

func (p *program) captured(file string) (io.ReadCloser, error) {
	if file == "" {
		return io.NopCloser(capture.Example()), nil
	}
	captured, _, err := p.open([]string{file})
	return captured, err
}
