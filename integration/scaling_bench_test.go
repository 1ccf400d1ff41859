package integration_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// BenchmarkScaling measures how many updates one worker and two of them process
// whose router computes for 1 ms over each. Every worker has one processor
// (GOMAXPROCS=1), so it needs as many as there are workers, and a little for the
// server. One operation is a backlog of all partitions.
func BenchmarkScaling(b *testing.B) {
	rates := make(map[int]float64)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) { rates[workers] = benchScaling(b, workers) })
	}
	if rates[1] > 0 {
		b.Logf("two workers process %.2f times as many updates as one", rates[2]/rates[1])
	}
}

// benchScaling returns updates per second.
func benchScaling(b *testing.B, workers int) float64 {
	b.Helper()
	const updates = 300 * partitions
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	b.Setenv("GOMAXPROCS", "1")
	c := newCrew(b, server.URL(), 0, settings{"LABOUR": "1"})
	c.binary = os.Args[0]
	c.add(workers)
	c.awaitShares()
	took := time.Duration(0)
	for b.Loop() {
		began := time.Now()
		c.publishEvenly(updates)
		c.awaitDone()
		took += time.Since(began)
	}
	rate := float64(b.N*updates) / took.Seconds()
	b.ReportMetric(rate, "updates/s")
	return rate
}

// publishEvenly stores n updates, as many in each partition.
func (c *crew) publishEvenly(n int) {
	c.t.Helper()
	js, err := jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(benchPending))
	if err != nil {
		c.t.Fatal(err)
	}
	users := evenUsers()
	var futures []jetstream.PubAckFuture
	for i := range n {
		user := users[i%len(users)]
		future, err := js.PublishAsync(c.subjects.Update(user), benchUpdate(user, i))
		if err != nil {
			c.t.Fatal(err)
		}
		futures = append(futures, future)
	}
	<-js.PublishAsyncComplete()
	for _, future := range futures {
		select {
		case err := <-future.Err():
			c.t.Fatal(err)
		default:
		}
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

// awaitDone waits until nothing is pending.
func (c *crew) awaitDone() {
	c.t.Helper()
	c.eventually("end of the backlog", func(ctx context.Context) error {
		status, err := stream.ReadStatus(ctx, c.nc, c.subjects.Prefix())
		for _, p := range status.Partitions {
			if p.Pending > 0 {
				return fmt.Errorf("%d updates are pending in partition %d", p.Pending, p.Number)
			}
		}
		return err
	})
}
