package client_test

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/topology"
)

// startExample runs a server, and a worker that has alice see bob and carol.
func startExample() (ctx context.Context, c *client.Client, stop func()) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*bound)
	dir := must(os.MkdirTemp("", "presence-client-"))
	server := must(natsserver.Start(natsserver.Options{StoreDir: dir}))
	nc := must(nats.Connect(server.URL(), nats.ReconnectBufSize(-1)))
	if _, err := must(topology.New(must(jetstream.New(nc)), streams())).Apply(ctx); err != nil {
		panic(err)
	}
	worker := exampleWorker(nc)
	worked := make(chan error, 1)
	go func() { worked <- worker.Run(ctx) }()
	for worker.Ready() != nil {
		must(true, sleep(ctx))
	}
	return ctx, must(client.New(nc, client.DefaultPrefix)), func() {
		cancel()
		must(true, <-worked)
		nc.Close()
		server.Shutdown()
		must(true, os.RemoveAll(dir))
	}
}

func exampleWorker(nc *nats.Conn) *stream.Worker {
	alice := presence.MustUserID("@alice:example.com")
	seen := []presence.UserID{presence.MustUserID("@bob:example.com"), presence.MustUserID("@carol:example.com")}
	router := routes{
		usersForStates: func(given states) recipients {
			given = slices.DeleteFunc(slices.Clone(given), func(s presence.UserState) bool { return !slices.Contains(seen, s.UserID) })
			return recipients{alice: given}
		},
		interestedUsers: func(user presence.UserID) routing.Interest {
			if user == alice {
				return routing.Users(seen...)
			}
			return routing.Users()
		},
	}
	config := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     streams(),
		Worker:      stream.DefaultWorkerConfig(),
	}
	dispatcher := must(routing.NewDispatcher([]routing.Registration{{Name: "example", Router: router, Timeout: time.Minute}}))
	return must(stream.NewWorker(nc, dispatcher, config))
}

func publishStates(ctx context.Context, c *client.Client, states ...presence.UserState) {
	publisher := must(c.Publisher(ctx, client.DefaultPublisherConfig()))
	for _, state := range states {
		must(true, publisher.Publish(ctx, client.Update{State: state}, nil))
	}
	must(true, publisher.Close(ctx))
}

// awaitExample waits until queries know the states of users, and alice's deliveries
// are stored.
func awaitExample(ctx context.Context, c *client.Client, users ...presence.UserID) {
	for {
		if known := must(collect(c.CurrentStates(ctx, users, presence.UserID{}))); len(known) == len(users) {
			break
		}
		must(true, sleep(ctx))
	}
	view := client.NewView(presence.MustUserID("@alice:example.com"), client.DefaultViewBytes)
	for view.Len() < len(users) {
		must(true, c.CatchUp(ctx, view))
	}
}

func sleep(ctx context.Context) error {
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
