package integration_test

import (
	"fmt"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

// BenchmarkMemory starts a worker on a backlog of 1,000,000 updates and measures
// the most memory that its process has resident until nothing is pending. One
// operation is the backlog.
func BenchmarkMemory(b *testing.B) {
	for _, k := range []int{1, 10} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) { benchMemory(b, k) })
	}
}

func benchMemory(b *testing.B, k int) {
	b.Helper()
	const updates, bound = 1_000_000, 200_000_000
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	c := newCrewFor(b, server.URL(), crewLoad(k), 1, nil)
	c.awaitShares() // The streams are there.
	c.leave(c.remove())
	peak := 0
	for b.Loop() {
		c.publishMany(c.load.users, updates)
		c.add(1)
		c.awaitDone()
		worker := c.remove()
		peak = max(peak, worker.peakMemory())
		c.leave(worker)
	}
	b.ReportMetric(float64(peak)/1e6, "MB")
	b.ReportMetric(float64(b.N*updates)/b.Elapsed().Seconds(), "updates/s")
	if peak > bound {
		b.Errorf("the worker had %d MB resident, want at most %d", peak/1e6, bound/1_000_000)
	}
}
