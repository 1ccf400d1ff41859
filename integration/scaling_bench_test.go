package integration_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

// BenchmarkScaling measures how many updates one worker and two of them process
// whose router computes for 1 ms over each, or for 4. Every worker has one processor
// (GOMAXPROCS=1), so it needs as many as there are workers, and a little for the
// server: the less, the longer the router computes. The CPU time of the workers tells
// on a machine that has other things to do. One operation is a backlog of all
// partitions.
func BenchmarkScaling(b *testing.B) {
	for _, milliseconds := range []int{1, 4} {
		rates := make(map[int]float64)
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("work=%dms/workers=%d", milliseconds, workers), func(b *testing.B) {
				rates[workers] = benchScaling(b, workers, milliseconds)
				if rates[1] > 0 {
					b.ReportMetric(rates[workers]/rates[1], "times-one")
				}
			})
		}
	}
}

// benchScaling returns updates per second.
func benchScaling(b *testing.B, workers, milliseconds int) float64 {
	b.Helper()
	updates := 600 * partitions / milliseconds // ten seconds of one processor
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	b.Setenv("GOMAXPROCS", "1")
	c := newCrew(b, server.URL(), 0, settings{"LABOUR": strconv.Itoa(milliseconds)})
	c.binary = os.Args[0]
	c.add(workers)
	c.awaitShares()
	users := evenUsers()
	took, spent := time.Duration(0), c.cpu()
	for b.Loop() {
		began := time.Now()
		c.publishMany(users, updates)
		c.awaitDone()
		last, err := c.lastMessage(b.Context(), c.subjects.DeliveriesStream(), c.subjects.Deliveries())
		if err != nil || last == nil {
			b.Fatal(err)
		}
		took += last.Time.Sub(began)
	}
	rate := float64(b.N*updates) / took.Seconds()
	b.ReportMetric(rate, "updates/s")
	b.ReportMetric((c.cpu()-spent).Seconds()*1000/float64(b.N*updates), "cpu-ms/update")
	b.ReportMetric(0, "ns/op")
	return rate
}

// cpu returns the CPU time that the workers have used so far.
func (c *crew) cpu() time.Duration {
	c.t.Helper()
	spent := time.Duration(0)
	for _, w := range c.workers {
		spent += w.cpu()
	}
	return spent
}

// publishMany stores n updates of users in turn.
func (c *crew) publishMany(users []presence.UserID, n int) {
	c.t.Helper()
	var refused atomic.Pointer[error]
	js, err := jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(benchPending), jetstream.WithPublishAsyncTimeout(time.Minute),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { refused.Store(&err) }))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range n {
		user := users[i%len(users)]
		if _, err := js.PublishAsync(c.subjects.Update(user), benchUpdate(user, i), jetstream.WithStallWait(time.Minute)); err != nil {
			c.t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	if err := refused.Load(); err != nil {
		c.t.Fatal(*err)
	}
}

// evenUsers returns as many users of each partition, in turn.
func evenUsers() []presence.UserID {
	const each = 64
	byPartition := make([][]presence.UserID, partitions)
	for n, found := 0, 0; found < each*partitions; n++ {
		user := benchUser(n)
		if p := wire.Partition(user, partitions); len(byPartition[p]) < each {
			byPartition[p] = append(byPartition[p], user)
			found++
		}
	}
	var users []presence.UserID
	for i := range each {
		for _, of := range byPartition {
			users = append(users, of[i])
		}
	}
	return users
}

// awaitDone waits until nothing is pending, and asks seldom: that takes CPU time.
func (c *crew) awaitDone() {
	c.t.Helper()
	const bound, pause = 30 * time.Minute, time.Second
	ctx, cancel := context.WithTimeout(c.t.Context(), bound)
	defer cancel()
	for {
		found, err := status.Read(ctx, c.nc, c.subjects.Prefix())
		pending := slices.ContainsFunc(found.Partitions, func(p status.Partition) bool { return p.Pending > 0 })
		if err == nil && !pending {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("updates are pending after %v: %v", bound, err)
		}
		waitUntil(ctx, time.Now().Add(pause))
	}
}
