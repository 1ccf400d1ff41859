package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
)

// testimony, in the environment, has this test binary run as a worker whose router
// appends the sequence of each update that it routes to the file of that name.
const testimony = "ROUTER_WORKER_TESTIMONY"

// labour, in the environment, has this test binary run as a worker whose router
// computes for so many milliseconds over each update. No such router is in the
// program under test.
const labour = "ROUTER_WORKER_LABOUR"

// roundsPerMillisecond is what a processor computes in a millisecond that does a
// million rounds in 1.2 ms and nothing else.
const roundsPerMillisecond = 800_000

// labourer delivers every update to one recipient, after a while of computing.
type labourer struct {
	recipient    presence.UserID
	milliseconds int
}

// UsersForStates computes for as long as the states take.
func (l labourer) UsersForStates(ctx context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	mix := uint64(1)
	for range states {
		for range l.milliseconds * roundsPerMillisecond {
			mix = mix*6364136223846793005 + 1442695040888963407
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("compute %d: %w", mix, ctx.Err())
		}
	}
	return map[presence.UserID][]presence.UserState{l.recipient: states}, nil
}

// InterestedUsers returns nobody: nothing asks for it.
func (l labourer) InterestedUsers(context.Context, presence.UserID) (routing.Interest, error) {
	return routing.Interest{}, nil
}

// labourUntilStopped returns the exit code of a worker.
func labourUntilStopped() int {
	if err := runLabourer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runLabourer runs a worker, as the environment says, until SIGTERM.
func runLabourer() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	router, err := testRouter()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("starting")
	nc, err := stream.Connect(ctx, os.Getenv("ROUTER_WORKER_NATS_URL"), log)
	if err != nil {
		return err
	}
	defer nc.Close()
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{
		Name: "test", Timeout: 5 * time.Minute, Router: router,
	}})
	if err != nil {
		return err
	}
	config := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     topology.DefaultConfig(), Worker: stream.DefaultWorkerConfig(),
	}
	config.Worker.ID = os.Getenv("ROUTER_WORKER_WORKER_ID")
	worker, err := stream.NewWorker(nc, dispatcher, config, stream.WithLogger(log))
	if err != nil {
		return err
	}
	return worker.Run(ctx)
}

// testRouter returns the router that the environment says.
func testRouter() (routing.Router, error) {
	reader := presence.MustUserID("@reader:example.com")
	if path := os.Getenv(testimony); path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		return witness{recipient: reader, file: file}, err
	}
	milliseconds, err := strconv.Atoi(os.Getenv(labour))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", labour, err)
	}
	return labourer{recipient: reader, milliseconds: milliseconds}, nil
}

// witness delivers every update to one recipient, and notes its sequence.
type witness struct {
	recipient presence.UserID
	file      *os.File // the end of the process closes it
}

// UsersForStates notes the sequences of updates, a line each, all at once.
func (w witness) UsersForStates(_ context.Context, states []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	var lines []byte
	for _, state := range states {
		lines = fmt.Appendln(lines, state.Published().Position)
	}
	if _, err := w.file.Write(lines); err != nil {
		return nil, err
	}
	return map[presence.UserID][]presence.UserState{w.recipient: states}, nil
}

// InterestedUsers returns nobody: nothing asks for it.
func (witness) InterestedUsers(context.Context, presence.UserID) (routing.Interest, error) {
	return routing.Interest{}, nil
}
