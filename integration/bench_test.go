package integration_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

const (
	benchUsers      = 10_000
	benchRecipients = 100_000
)

// benchRoutes returns a route for each user, to k random recipients.
func benchRoutes(k int) []static.Route {
	numbers := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // A benchmark wants the same numbers each time.
	routes := make([]static.Route, benchUsers)
	for user := range routes {
		route := static.Route{Users: []presence.UserID{benchUser(user)}}
		for range k {
			recipient := fmt.Sprintf("@reader%d:example.com", numbers.IntN(benchRecipients))
			route.Recipients = append(route.Recipients, presence.MustUserID(recipient))
		}
		routes[user] = route
	}
	return routes
}

func benchUser(n int) presence.UserID {
	return presence.MustUserID(fmt.Sprintf("@user%d:example.com", n))
}

// newBenchWorker returns a worker with routes on streams in memory.
func newBenchWorker(b *testing.B, url string, routes []static.Route) *stream.Worker {
	b.Helper()
	config := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     stream.DefaultStreamsConfig(),
		Worker:      stream.DefaultWorkerConfig(),
	}
	config.Streams.Storage = stream.Memory
	router, err := static.New(static.Config{Routes: routes})
	if err != nil {
		b.Fatal(err)
	}
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "static", Router: router, Timeout: time.Minute}})
	if err != nil {
		b.Fatal(err)
	}
	nc := natstest.Connect(b, url, nats.ReconnectBufSize(-1))
	worker, err := stream.NewWorker(nc, dispatcher, config)
	if err != nil {
		b.Fatal(err)
	}
	topology, err := stream.NewTopology(natstest.JetStream(b, nc), config.Streams)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := topology.Apply(b.Context()); err != nil {
		b.Fatal(err)
	}
	return worker
}

// benchUpdate returns an update of about 200 bytes, the mean of the capture.
func benchUpdate(user presence.UserID, n int) []byte {
	return fmt.Appendf(nil, `{"user_id":%q,"state":"online","last_active_ts":%d,"last_federation_update_ts":0,"last_user_sync_ts":%d,"status_msg":"in a meeting","currently_active":true}`,
		user, 1795378782000+n, 1795378782000+n)
}
