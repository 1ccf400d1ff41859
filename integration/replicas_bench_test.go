package integration_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
)

// BenchmarkTakeover kills one of two and one of three workers, ten times, and
// measures how long its partitions deliver nothing.
func BenchmarkTakeover(b *testing.B) {
	for _, ttl := range []time.Duration{3 * time.Second, time.Second} {
		for _, workers := range []int{2, 3} {
			b.Run(fmt.Sprintf("ttl=%v/workers=%d", ttl, workers), func(b *testing.B) { benchTakeover(b, ttl, workers) })
		}
	}
}

func benchTakeover(b *testing.B, ttl time.Duration, workers int) {
	b.Helper()
	const takeovers, updates = 10, 500 // per second
	c := newCrewAlone(b, workers, settings{"WORKER_TTL": ttl.String()})
	traffic := c.startTraffic(c.load, updates)
	var took []time.Duration
	for b.Loop() {
		for range takeovers {
			c.awaitProgress()
			before, since := c.awaitShares(), c.now()
			c.remove().kill()
			after := c.awaitShares()
			c.awaitProgress()
			took = append(took, c.longestPause(since, moved(before, after)))
			c.add(1)
			c.awaitShares()
		}
	}
	traffic.stop()
	reportTimes(b, fmt.Sprintf("takeover from 1 of %d workers, TTL %v", workers, ttl), ttl+500*time.Millisecond, took)
}

// BenchmarkHandover has one of two workers leave and another one join, ten times
// each, while 5,000 updates flow in a second, and measures how long the partitions
// that move deliver nothing: of each handover, the longest.
func BenchmarkHandover(b *testing.B) {
	const rounds = 10
	c := newCrewAlone(b, 2, nil)
	traffic, began := c.startTraffic(c.load, busyRate), time.Now()
	var still, left, joined []time.Duration
	for b.Loop() {
		for range rounds {
			still = append(still, c.still())
			left = append(left, c.handover(func() { c.leave(c.remove()) }))
			joined = append(joined, c.handover(func() { c.add(1) }))
		}
	}
	updates := traffic.stop()
	reportRate(b, len(updates), began)
	reportTimes(b, "nothing moves", 250*time.Millisecond, still)
	reportTimes(b, "a worker leaves", 250*time.Millisecond, left)
	reportTimes(b, "a worker joins", 250*time.Millisecond, joined)
	reportTimes(b, "graceful handover", 250*time.Millisecond, append(left, joined...))
}

// handover returns the longest pause of a partition that moves.
func (c *crew) handover(change func()) time.Duration {
	c.t.Helper()
	c.awaitProgress()
	before, since := c.awaitShares(), c.now()
	change()
	after := c.awaitShares()
	c.awaitProgress()
	return c.longestPause(since, moved(before, after))
}

// still returns the longest pause of any partition in a second in which none moves,
// for comparison.
func (c *crew) still() time.Duration {
	c.t.Helper()
	c.awaitProgress()
	since := c.now()
	waitUntil(c.t.Context(), since.time.Add(time.Second))
	c.awaitProgress()
	return c.longestPause(since, c.partitions())
}

func reportRate(b *testing.B, updates int, began time.Time) {
	b.Helper()
	b.ReportMetric(float64(updates)/time.Since(began).Seconds(), "updates/s")
}

// BenchmarkRollingRestart replaces four workers one after the other while 5,000
// updates flow in a second, and checks the whole history.
func BenchmarkRollingRestart(b *testing.B) {
	const workers = 4
	c := newCrewAlone(b, workers, nil)
	stop := c.watch(func(integration.Checkpoint) {})
	traffic, began := c.startTraffic(c.load, busyRate), time.Now()
	for b.Loop() {
		for range workers {
			c.awaitProgress()
			c.leave(c.remove())
			c.add(1)
			c.awaitShares()
		}
	}
	c.awaitProgress()
	took := time.Since(began)
	updates := traffic.stop()
	reportRate(b, len(updates), began)
	c.awaitCommitted()
	history := c.collect(0)
	history.Checkpoints = stop()
	verdict := history.verify(b, integration.Check, updates)
	for _, fault := range []integration.Fault{integration.Lost, integration.Doubled, integration.Reordered} {
		b.ReportMetric(float64(verdict.Faults[fault]), string(fault))
	}
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStart starts workers on three servers with three replicas, all at once,
// and measures how long it takes from the last start until every partition has an
// owner and every worker its share: the longest of three times.
func BenchmarkStart(b *testing.B) {
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) { benchStart(b, workers) })
	}
}

func benchStart(b *testing.B, workers int) {
	b.Helper()
	const rounds = 3
	cluster := natstest.StartProcessCluster(b, 3, natstest.ProcessOptions{Binary: binaries.natsServer})
	c := newCrew(b, cluster.URL(), 1, settings{"STREAMS_REPLICAS": "3"})
	c.awaitShares() // The streams are there.
	var took []time.Duration
	for b.Loop() {
		for range rounds {
			for len(c.workers) > 0 {
				c.leave(c.remove())
			}
			c.add(workers)
			began := time.Now()
			c.awaitShares()
			took = append(took, time.Since(began))
		}
	}
	reportTimes(b, fmt.Sprintf("start of %d workers", workers), 5*time.Second, took)
}
