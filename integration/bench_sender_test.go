package integration_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// BenchmarkSender measures how fast the sender kit takes deliveries of 10,000 users in,
// hands them over to destinations that take everything at once, and acknowledges them,
// on a nats-server process beside it. One operation is one delivery.
func BenchmarkSender(b *testing.B) {
	for _, destinations := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("destinations=%d", destinations), func(b *testing.B) {
			bench := newSenderBench(b)
			bench.commit(b, b.N, benchUsers, destinations)
			var batches, states atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			bench.run(b, senderConfig(), func(_ context.Context, batch sender.Batch) error {
				batches.Add(1)
				states.Add(int64(batch.States))
				return nil
			})
			bench.await(b, "acknowledgement of everything", func(c *jetstream.ConsumerInfo) bool {
				return c.NumPending == 0 && c.NumAckPending == 0
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
			b.ReportMetric(float64(batches.Load())/b.Elapsed().Seconds(), "batches/s")
			b.ReportMetric(float64(states.Load())/float64(batches.Load()), "states/batch")
		})
	}
}

// BenchmarkSenderMemory measures the memory of a state that is held because its
// destination cannot be reached. One operation is one delivery, of a user of its own.
func BenchmarkSenderMemory(b *testing.B) {
	bench := newSenderBench(b)
	bench.commit(b, b.N, b.N, 100)
	c := senderConfig()
	c.MaxStates, c.MaxBytes = 2*b.N, 1<<40
	c.FirstRetry, c.LongestRetry = time.Hour, time.Hour
	before := heap()
	b.ResetTimer()
	bench.run(b, c, func(context.Context, sender.Batch) error { return &sender.Unsent{Err: context.DeadlineExceeded} })
	bench.await(b, "taking in of everything", func(c *jetstream.ConsumerInfo) bool {
		return c.NumPending == 0 && c.NumAckPending == b.N
	})
	b.StopTimer()
	b.ReportMetric(float64(heap()-before)/float64(b.N), "held-B/state")
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // Far from that much.
}

func senderConfig() sender.Config {
	c := sender.DefaultConfig()
	c.Origins = []presence.ServerName{presence.MustServerName("example.com")}
	return c
}

// senderBench is the streams of a benchmark and a connection for the sender.
type senderBench struct{ *pipelineBench }

func newSenderBench(b *testing.B) senderBench {
	b.Helper()
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	return senderBench{newPipelineBench(b, server.URL(), topology.Memory, benchRoutes(1, 0))}
}

// commit stores n deliveries of one state each, the users and the destinations in turn.
func (s senderBench) commit(b *testing.B, n, users, destinations int) {
	b.Helper()
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		b.Fatal(err)
	}
	s.publish(b, n, func(i int) (string, []byte) {
		to := presence.MustUserID(fmt.Sprintf("@reader:server%d.org", i%destinations))
		state, err := wire.DecodeUpdate(benchUpdate(benchUser(i%users), i), uint64(i)+1, 64<<10) //nolint:gosec // i is not negative.
		if err != nil {
			b.Fatal(err)
		}
		return subjects.Delivery(wire.Remote, wire.Shard(wire.Remote, to, 16), to),
			wire.AppendDelivery(nil, wire.Delivery{Recipient: to, Epoch: 1, States: []presence.UserState{state}})
	})
}

// run runs a sender until the benchmark ends.
func (s senderBench) run(b *testing.B, c sender.Config, send sender.Send) {
	b.Helper()
	made, err := sender.New(s.nc, c, send)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- made.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
}

// await waits until the sender's consumer is in a state.
func (s senderBench) await(b *testing.B, what string, reached func(*jetstream.ConsumerInfo) bool) {
	b.Helper()
	for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(poll) {
		if c, err := s.js.Consumer(b.Context(), "PRESENCE_DELIVERIES", "federate"); err == nil && reached(c.CachedInfo()) {
			return
		}
	}
	b.Fatalf("no %s within 5m", what)
}
