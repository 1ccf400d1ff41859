package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
)

// pipelineBench is a worker in the process of the benchmark, its streams, and a
// connection for both.
type pipelineBench struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	config stream.Config
	worker *stream.Worker
}

func newPipelineBench(b *testing.B, url string, storage topology.Storage, routes []static.Route) *pipelineBench {
	b.Helper()
	router, err := static.New(static.Config{Routes: routes})
	if err != nil {
		b.Fatal(err)
	}
	return newRouterBench(b, url, storage, router)
}

func newRouterBench(b *testing.B, url string, storage topology.Storage, router routing.Router) *pipelineBench {
	b.Helper()
	config := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     topology.DefaultConfig(),
		Worker:      stream.DefaultWorkerConfig(),
	}
	config.Streams.Storage = storage
	config.Streams.Deliveries.MaxBytes = -1 // It stays for as long as the benchmark.
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "bench", Router: router, Timeout: time.Minute}})
	if err != nil {
		b.Fatal(err)
	}
	nc := natstest.Connect(b, url, nats.ReconnectBufSize(-1))
	worker, err := stream.NewWorker(nc, dispatcher, config)
	if err != nil {
		b.Fatal(err)
	}
	bench := &pipelineBench{nc: nc, js: natstest.JetStream(b, nc), config: config, worker: worker}
	topology, err := topology.New(bench.js, config.Streams)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := topology.Apply(b.Context()); err != nil {
		b.Fatal(err)
	}
	return bench
}

// serve runs the worker of the benchmark until it ends.
func (p *pipelineBench) serve(b *testing.B) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- p.worker.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for began := time.Now(); p.worker.Ready() != nil; time.Sleep(poll) {
		if time.Since(began) > readyTimeout {
			b.Fatal(p.worker.Ready())
		}
	}
}
