package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// Example is the configuration that the demo runs with, but for where NATS and
// HTTP listen.
//
//go:embed example.yaml
var Example []byte

// Demo is one show.
type Demo struct {
	Listen  string    // host:port of the embedded server; a free port of this machine where empty
	Keep    bool      // whether it goes on until ctx ends, once the capture is done
	Capture io.Reader // updates, one a line
	Out     io.Writer
	Log     *slog.Logger
	Version string
}

// Run plays the capture and writes the deliveries as they come, then a summary. It
// returns an error where a line of the capture is no update, an update stays
// uncommitted, a delivery does not come, the output takes no more, or ctx ends before
// all that is known.
func (d Demo) Run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "router-worker-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // What is left is in the system's directory for that.
	options := natsserver.Options{StoreDir: dir, Logger: d.Log}
	if options.Host, options.Port, err = d.address(); err != nil {
		return err
	}
	server, err := natsserver.Start(options)
	if err != nil {
		return err
	}
	defer server.Shutdown()
	c, err := config.Parse("example.yaml", Example, nil)
	if err != nil {
		return err
	}
	c.NATS.URL = config.URL(server.URL())
	return d.onServer(ctx, c)
}

func (d Demo) address() (host string, port int, err error) {
	if d.Listen == "" {
		return "127.0.0.1", 0, nil
	}
	host, text, err := net.SplitHostPort(d.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen on %s: want host:port: %w", d.Listen, err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen on %s: port is %q: want 0 to 65535", d.Listen, text)
	}
	return host, int(number), nil
}

// onServer runs the worker and the show.
func (d Demo) onServer(ctx context.Context, c config.Config) (err error) {
	nc, err := operate.Connect(ctx, c.NATS, d.Log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	topology, err := topology.New(js, c.Streams)
	if err != nil {
		return err
	}
	if _, err := topology.Apply(ctx); err != nil {
		return err
	}
	subjects, err := wire.NewSubjects(c.Streams.Prefix)
	if err != nil {
		return err
	}
	router, err := client.New(nc, c.Streams.Prefix)
	if err != nil {
		return err
	}
	working, stop := context.WithCancelCause(ctx)
	worked := make(chan error, 1)
	go func() {
		defer stop(errors.New("the worker stopped"))
		worked <- d.work(working, c)
	}()
	shown := (&show{demo: d, config: c, js: js, client: router, subjects: subjects}).run(working)
	stop(nil)
	if err := <-worked; err != nil {
		return fmt.Errorf("the worker stopped: %w", err)
	}
	return shown
}

func (d Demo) work(ctx context.Context, c config.Config) error {
	nc, err := operate.Connect(ctx, c.NATS, d.Log)
	if err != nil {
		return err
	}
	defer nc.Close()
	telemetry, err := operate.StartTelemetry(ctx, c.Telemetry, operate.Identity{Version: d.Version, Worker: "demo"}, nil, d.Log)
	if err != nil {
		return err
	}
	defer telemetry.Shutdown(context.WithoutCancel(ctx)) //nolint:errcheck // Nothing is sent anywhere.
	return operate.RunWorker(ctx, nc, c, telemetry, new(operate.Readiness), d.Log)
}
