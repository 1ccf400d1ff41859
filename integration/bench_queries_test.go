package integration_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// BenchmarkQueries measures how fast one worker with the static module answers, on
// a nats-server process beside it, and prints the ratio to a bare echo: a queue
// subscription that responds with what it was sent, asked by the same clients just
// before and after. Each client has a connection of its own. One operation is one
// query.
func BenchmarkQueries(b *testing.B) {
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	bench := newPipelineBench(b, server.URL(), topology.Memory, benchRoutes(10, 10))
	bench.serve(b)
	startEcho(b, server.URL())
	state, err := wire.DecodeUpdate(benchUpdate(benchUser(7), 7), 1, 64<<10)
	if err != nil {
		b.Fatal(err)
	}
	interested := wire.InterestedUsersRequest{UserID: benchRoutes(10, 10)[7].Recipients[0]}
	states := wire.UsersForStatesRequest{}
	states.States = append(states.States, state)
	for _, q := range []struct {
		name    string
		request []byte
	}{
		{wire.InterestedUsers, interested.Append(nil)},
		{wire.UsersForStates, states.Append(nil)},
	} {
		for _, clients := range []int{1, 32} {
			b.Run(fmt.Sprintf("query=%s/clients=%d", q.name, clients), func(b *testing.B) {
				benchQuery(b, newClients(b, server.URL(), clients), "presence.router."+q.name, q.request)
			})
		}
	}
}

func benchQuery(b *testing.B, all clients, subject string, request []byte) {
	b.Helper()
	half := max(b.N/2, 1)
	before := all.ask(b, "bench.echo", request, half)
	b.ResetTimer()
	queries := all.ask(b, subject, request, b.N)
	b.StopTimer()
	after := all.ask(b, "bench.echo", request, half)

	echo := float64(2*half) / (before.took + after.took).Seconds()
	perSecond := float64(b.N) / queries.took.Seconds()
	b.ReportMetric(perSecond, "queries/s")
	b.ReportMetric(echo, "echoes/s")
	b.ReportMetric(perSecond/echo, "queries/echo")
	b.ReportMetric(queries.percentile(50), "p50-µs")
	b.ReportMetric(queries.percentile(99), "p99-µs")
	b.ReportMetric(slices.Max([]float64{before.percentile(99), after.percentile(99)}), "echo-p99-µs")
}

func startEcho(b *testing.B, url string) {
	b.Helper()
	nc := natstest.Connect(b, url)
	if _, err := nc.QueueSubscribe("bench.echo", "bench", func(m *nats.Msg) { _ = m.Respond(m.Data) }); err != nil {
		b.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
}

// clients is a connection for each client.
type clients []*nats.Conn

func newClients(b *testing.B, url string, n int) clients {
	b.Helper()
	all := make(clients, n)
	for i := range all {
		all[i] = natstest.Connect(b, url)
	}
	return all
}

// asking is how long n requests took together and one by one.
type asking struct {
	took  time.Duration
	times []time.Duration // sorted
}

func (a asking) percentile(p int) float64 {
	return float64(a.times[(len(a.times)-1)*p/100].Nanoseconds()) / 1000
}

// ask puts n requests, each client one after the other.
func (c clients) ask(b *testing.B, subject string, request []byte, n int) asking {
	b.Helper()
	times := make([]time.Duration, n)
	var next atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, nc := range c {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				asked := time.Now()
				reply, err := nc.Request(subject, request, readyTimeout)
				if err != nil || reply.Header.Get(wire.ErrorCodeHeader) != "" {
					b.Errorf("ask %s: %v, %s", subject, err, reply.Header.Get(wire.ErrorHeader))
					return
				}
				times[i] = time.Since(asked)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	slices.Sort(times)
	return asking{took: took, times: times}
}
