package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	crewUsers = 1000
	busyRate  = 5000 // updates per second
)

// crew is a deployment of which a benchmark measures how its workers share the
// partitions.
type crew struct {
	*deployment

	load    *load
	workers []*workerProcess
}

// newCrew configures a deployment on the servers at url, whose settings are the
// defaults but for those given, and starts workers.
func newCrew(b *testing.B, url string, workers int, over settings) *crew {
	b.Helper()
	return newCrewFor(b, url, crewLoad(1), workers, over)
}

// crewLoad makes users with k recipients each.
func crewLoad(k int) *load {
	return newLoad(rand.New(rand.NewPCG(1, 2)), crewUsers, k) //nolint:gosec // A benchmark wants the same numbers each time.
}

// newCrewFor is newCrew with a load.
func newCrewFor(b *testing.B, url string, l *load, workers int, over settings) *crew {
	b.Helper()
	defaults := stream.DefaultWorkerConfig()
	c := &crew{load: l, deployment: configure(b, url, l, settings{
		"WORKER_COMMIT_TIMEOUT":      defaults.CommitTimeout.String(),
		"WORKER_CHECKPOINT_INTERVAL": defaults.CheckpointInterval.String(),
	}, over)}
	c.nc = natstest.Connect(b, url)
	c.js = natstest.JetStream(b, c.nc)
	c.add(workers)
	return c
}

// newCrewAlone is newCrew on a server of its own.
func newCrewAlone(b *testing.B, workers int, over settings) *crew {
	b.Helper()
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	c := newCrew(b, server.URL(), workers, over)
	c.awaitShares()
	return c
}

// add starts workers, all at once.
func (c *crew) add(n int) {
	c.t.Helper()
	for range n {
		c.workers = append(c.workers, c.start())
	}
}

// remove takes the worker that has been there for longest out of the crew.
func (c *crew) remove() *workerProcess {
	w := c.workers[0]
	c.workers = c.workers[1:]
	return w
}

// awaitShares waits until the workers of the crew, and nobody else, have all
// partitions, each as many as every other or one more.
func (c *crew) awaitShares() status.Status {
	c.t.Helper()
	var found status.Status
	c.eventually(fmt.Sprintf("share of each of %d workers", len(c.workers)), func(ctx context.Context) (err error) {
		if found, err = status.Read(ctx, c.nc, c.subjects.Prefix()); err != nil {
			return err
		}
		return c.shared(found)
	})
	return found
}

func (c *crew) shared(status status.Status) error {
	shares := make(map[string]int)
	for _, p := range status.Partitions {
		if p.Owner == "" || p.Owner != p.CommittedBy {
			return fmt.Errorf("partition %d is of %q, its checkpoint of %q", p.Number, p.Owner, p.CommittedBy)
		}
		shares[p.Owner]++
	}
	least, most := len(status.Partitions), 0
	for _, w := range c.workers {
		least, most = min(least, shares[w.id]), max(most, shares[w.id])
		delete(shares, w.id)
	}
	if most-least > 1 || len(shares) > 0 {
		return fmt.Errorf("shares are %d to %d, others have %v", least, most, shares)
	}
	return nil
}

// awaitProgress waits until every partition has committed something new.
func (c *crew) awaitProgress() {
	c.t.Helper()
	before := c.awaitShares()
	c.eventually("commit of every partition", func(ctx context.Context) error {
		now, err := status.Read(ctx, c.nc, c.subjects.Prefix())
		if err != nil {
			return err
		}
		for i, p := range now.Partitions {
			if p.Sequence <= before.Partitions[i].Sequence {
				return fmt.Errorf("partition %d is at %d", i, p.Sequence)
			}
		}
		return nil
	})
}

// moment is a place in the deliveries stream and the time that goes with it.
type moment struct {
	sequence uint64
	time     time.Time
}

func (c *crew) now() moment {
	c.t.Helper()
	return moment{sequence: c.lastSequence(c.subjects.DeliveriesStream()), time: time.Now()}
}

// longestPause returns for how long at most one of the partitions delivered
// nothing, from a moment until now. The clock of the server is the one here.
func (c *crew) longestPause(since moment, partitions []int) time.Duration {
	c.t.Helper()
	newest, longest := make(map[int]time.Time), time.Duration(0)
	c.read(c.t.Context(), c.subjects.DeliveriesStream(), since.sequence, func(m jetstream.Msg) {
		source, err := wire.ParseSource(m.Headers().Get(wire.SourceHeader))
		if err != nil || !slices.Contains(partitions, source.Partition) {
			return // a checkpoint, a dead letter, or of another partition
		}
		meta, err := m.Metadata()
		if err != nil {
			c.t.Fatal(err)
		}
		before, known := newest[source.Partition]
		if !known {
			before = since.time
		}
		longest = max(longest, meta.Timestamp.Sub(before))
		if meta.Timestamp.After(since.time) {
			newest[source.Partition] = meta.Timestamp
		}
	})
	if len(newest) < len(partitions) {
		c.t.Error(errors.New("a partition has delivered nothing"))
	}
	return longest
}

// moved returns the partitions that have another owner.
func moved(before, after status.Status) []int {
	var numbers []int
	for i, p := range after.Partitions {
		if p.Owner != before.Partitions[i].Owner {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// partitions returns all of them.
func (c *crew) partitions() []int {
	numbers := make([]int, partitions)
	for p := range numbers {
		numbers[p] = p
	}
	return numbers
}

// leave has a worker give its partitions up and end.
func (c *crew) leave(w *workerProcess) {
	c.t.Helper()
	w.signal(syscall.SIGTERM)
	w.awaitExit(0)
}

// reportTimes prints the median, the least and the most of some times.
func reportTimes(b *testing.B, what string, target time.Duration, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	median := times[len(times)/2]
	b.ReportMetric(median.Seconds()*1000, "median-ms")
	b.ReportMetric(times[0].Seconds()*1000, "min-ms")
	b.ReportMetric(times[len(times)-1].Seconds()*1000, "max-ms")
	b.ReportMetric(0, "ns/op")
	b.Logf("%s: median %v of %d, %v to %v; the median is to be under %v", what, median.Round(time.Millisecond), len(times),
		times[0].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), target)
}
