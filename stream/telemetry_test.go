package stream_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// measured is what a ManualReader collects: sums and gauges by name and
// attributes, and the count and sum of histograms.
type measured struct {
	values map[string]int64
	counts map[string]uint64
	sums   map[string]float64
}

func collect(t *testing.T, reader *metric.ManualReader) measured {
	t.Helper()
	var found metricdata.ResourceMetrics
	if err := reader.Collect(context.WithoutCancel(t.Context()), &found); err != nil {
		t.Fatal(err)
	}
	m := measured{values: make(map[string]int64), counts: make(map[string]uint64), sums: make(map[string]float64)}
	for _, scope := range found.ScopeMetrics {
		for _, each := range scope.Metrics {
			m.add(t, each)
		}
	}
	return m
}

func (m measured) add(t *testing.T, each metricdata.Metrics) {
	t.Helper()
	switch data := each.Data.(type) {
	case metricdata.Sum[int64]:
		for _, point := range data.DataPoints {
			m.values[key(each.Name, point.Attributes)] = point.Value
		}
	case metricdata.Gauge[int64]:
		for _, point := range data.DataPoints {
			m.values[key(each.Name, point.Attributes)] = point.Value
		}
	case metricdata.Histogram[float64]:
		for _, point := range data.DataPoints {
			m.counts[key(each.Name, point.Attributes)], m.sums[each.Name] = point.Count, point.Sum
		}
	case metricdata.Histogram[int64]:
		for _, point := range data.DataPoints {
			m.counts[key(each.Name, point.Attributes)], m.sums[each.Name] = point.Count, float64(point.Sum)
		}
	default:
		t.Errorf("%s is of type %T", each.Name, data)
	}
}

func key(name string, attributes attribute.Set) string {
	if attributes.Len() == 0 {
		return name
	}
	return name + "{" + attributes.Encoded(attribute.DefaultEncoder()) + "}"
}

func (m measured) want(t *testing.T, want map[string]int64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		if _, ok := want[name]; !ok && m.values[name] != 0 {
			t.Errorf("%s is %d, want no such metric", name, m.values[name])
		}
	}
	for name, value := range want {
		if got, ok := m.values[name]; !ok || got != value {
			t.Errorf("%s is %d (there: %t), want %d", name, got, ok, value)
		}
	}
}

func newMeter() (*metric.ManualReader, stream.Option) {
	reader := metric.NewManualReader()
	return reader, stream.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
}

// A worker that cannot be made says nothing of its connection later.
func TestWorkerThatIsNotMadeIsNotObserved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dispatcher, err := routing.NewDispatcher([]routing.Registration{registration(toEach(t, alice))})
	if err != nil {
		t.Fatal(err)
	}
	nc := natstest.Connect(t, s.url, nats.CustomInboxPrefix(s.subjects.Prefix()))
	reader, meter := newMeter()
	if _, err := stream.NewWorker(nc, dispatcher, s.config, meter); err == nil {
		t.Fatal("NewWorker = nil, want an error about the inbox prefix")
	}
	nc.Close()
	for name := range collect(t, reader).values {
		if strings.HasPrefix(name, "presence_router_problems") {
			t.Errorf("%s is observed", name)
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	w := s.startWith(t, []routing.Registration{
		registration(routerOf(t, func(_ context.Context, batch states) (answer, error) {
			if batch[0].UserID == presence.MustUserID("@nobody:example.com") {
				return nil, nil
			}
			return everybody([]presence.UserID{presence.MustUserID(alice), presence.MustUserID(carol)}, batch), nil
		})),
		{Name: "picky", Timeout: eventTimeout, OnError: routing.DeadLetter, Router: routerOf(t, func(_ context.Context, batch states) (answer, error) {
			if holdsPoison(batch) {
				return nil, errors.New("spilled")
			}
			return nil, nil
		})},
	}, meter)
	// What it claimed is committed once more, soon.
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return !strings.Contains(c.Commit, "-claim-") })
	bob := presence.MustUserID(bob)
	for _, publish := range []func() uint64{ // one by one, so that each is a batch
		func() uint64 { return s.publish(t, bob.String(), 1) },
		func() uint64 { return s.publish(t, bob.String(), 2) },
		func() uint64 { return s.publish(t, "@nobody:example.com", 3) },
		func() uint64 { return s.publish(t, bob.String(), poison) },
		func() uint64 { return s.publishRaw(t, s.subjects.Update(bob), "{", nil) },
	} {
		s.awaitPosition(t, publish())
	}
	w.stop(t)
	m := collect(t, reader)
	m.want(t, map[string]int64{
		"presence_router_updates{outcome=routed,partition=0}":      3,
		"presence_router_updates{outcome=dead_letter,partition=0}": 2,
		"presence_router_deliveries":                               6,
		"presence_router_dead_letters{reason=router_failed}":       1,
		"presence_router_dead_letters{reason=malformed}":           1,
		"presence_router_owned_partitions":                         0,
		"presence_router_workers":                                  1,
		"presence_router_workers_configured_otherwise":             0,
	})
	// Commits: the checkpoint of what was claimed, 2 deliveries and a checkpoint twice,
	// a checkpoint, 2 deliveries with a dead letter and a checkpoint, a dead letter and
	// a checkpoint. At the end, and on a slow machine between them, a checkpoint alone.
	commits := m.counts["presence_router_commit_messages"]
	if sum := m.sums["presence_router_commit_messages"]; commits < 6 || sum != float64(commits)+8 {
		t.Errorf("%d commits of %v messages, want 6 of 14", commits, sum)
	}
	if n, sum := m.counts["presence_router_commit_duration"], m.sums["presence_router_commit_duration"]; n != commits || sum <= 0 || sum > 5*eventTimeout.Seconds() {
		t.Errorf("%d commits took %v s, want %d", n, sum, commits)
	}
	if n, sum := m.counts["presence_router_end_to_end"], m.sums["presence_router_end_to_end"]; n != 5 || sum <= 0 || sum > 5*eventTimeout.Seconds() {
		t.Errorf("%d updates took %v s end to end, want 5", n, sum)
	}
}

// An update that is committed in slices counts once; its deliveries all.
func TestMetricsOfSlices(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	w := s.start(t, toEach(t, readers(2500)...), meter)
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	m := collect(t, reader)
	if updates, deliveries := m.values["presence_router_updates{outcome=routed,partition=0}"], m.values["presence_router_deliveries"]; updates != 1 || deliveries != 2500 {
		t.Errorf("%d updates and %d deliveries, want 1 and 2500", updates, deliveries)
	}
	if got := m.counts["presence_router_end_to_end"]; got != 1 {
		t.Errorf("%d updates end to end, want 1", got)
	}
}

// Both deliveries of an update are too large for the server: that is two dead
// letters, but one update.
func TestMetricsOfUpdateWithTwoDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		huge := batch[0]
		huge.StatusMsg = presence.Status(strings.Repeat("x", 2<<20))
		return everybody([]presence.UserID{presence.MustUserID(alice), presence.MustUserID(carol)}, states{huge}), nil
	}), meter)
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	m := collect(t, reader)
	for name, want := range map[string]int64{
		"presence_router_dead_letters{reason=router_failed}":       2,
		"presence_router_updates{outcome=dead_letter,partition=0}": 1,
		"presence_router_updates{outcome=routed,partition=0}":      0,
		"presence_router_deliveries":                               0,
	} {
		if got := m.values[name]; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestMetricsOfLostPartition(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.TTL = time.Minute })
	reader, meter := newMeter()
	h := newHeld()
	w := s.start(t, h.router(t), meter)
	s.publishMany(t, 0, 2)
	await(t, h.asked, "call of the router")
	if got := collect(t, reader).values["presence_router_owned_partitions"]; got != 1 {
		t.Errorf("%d partitions are owned, want 1", got)
	}
	s.takeOver(t, 0)
	close(h.release)
	w.log.await(t, "partition is lost", "thief")
	w.stop(t)
	m := collect(t, reader)
	for name, want := range map[string]int64{
		"presence_router_owned_partitions":                    0,
		"presence_router_fenced{partition=0}":                 1,
		"presence_router_workers":                             1,
		"presence_router_workers_configured_otherwise":        0,
		"presence_router_deliveries":                          0,
		"presence_router_updates{outcome=routed,partition=0}": 0,
	} {
		if got := m.values[name]; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// pending returns what a worker says is pending in partition 0, and whether it does.
func pending(t *testing.T, reader *metric.ManualReader) (int64, bool) {
	t.Helper()
	n, told := collect(t, reader).values["presence_router_partition_pending{partition=0}"]
	return n, told
}

func awaitPending(t *testing.T, reader *metric.ManualReader, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d updates that are pending", want), func() bool {
		n, told := pending(t, reader)
		return told && n == want
	})
}

// What is pending is true while a router hangs, and nothing is told of a partition
// that the worker does not have any more.
func TestPendingWhileRouterHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	h := newHeld()
	s.publishMany(t, 0, 10)
	w := s.startWith(t, []routing.Registration{{Name: "held", Router: h.router(t), Timeout: eventTimeout}}, meter)
	await(t, h.asked, "call of the router")
	awaitPending(t, reader, 10)
	last := s.publishMany(t, 10, 7)
	awaitPending(t, reader, 17)
	close(h.release)
	s.awaitPosition(t, last)
	awaitPending(t, reader, 0)
	w.stop(t)
	if n, told := pending(t, reader); told {
		t.Errorf("%d updates are pending after the end, want nothing told", n)
	}
}

// Updates that nobody receives are done as well, whenever the commit before them lands.
func TestPendingWhereNobodyReceives(t *testing.T) {
	t.Parallel()
	inBothWays(t, testPendingWhereNobodyReceives)
}

func testPendingWhereNobodyReceives(t *testing.T, fastIngest bool) {
	t.Helper()
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.FastIngest = fastIngest
		c.Worker.Batch = 1
	})
	reader, meter := newMeter()
	reachable := []presence.UserID{presence.MustUserID(alice)}
	last := s.publishMany(t, 0, 5)
	w := s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if marks(batch)[0] > 3 {
			return nil, nil
		}
		return everybody(reachable, batch), nil
	}), meter)
	s.awaitPosition(t, last)
	awaitPending(t, reader, 0)
	w.stop(t)
}

func TestPendingWhileDeliveriesStreamIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxBytes = 1 << 20
		c.Worker.Batch = 8
	})
	reader, meter := newMeter()
	w := s.start(t, toEach(t, alice), meter)
	s.publishFat(t, 120)
	w.wantReady(t, "committing deliveries: ")
	for _, more := range []int{0, 1000} { // more than the reader takes
		last := s.publishMany(t, 120, more)
		left := s.status(t).Partitions[0].Pending
		if left < uint64(50+more) { //nolint:gosec // Small and positive.
			t.Fatalf("status shows %d updates pending after update %d, want all that found no room", left, last)
		}
		awaitPending(t, reader, int64(left)) //nolint:gosec // Small.
	}
	s.drainFull(t, w, map[int]uint64{0: 1120})
}

// A position in an earlier updates stream says nothing about sequences in this one.
func TestPendingInStreamThatWasMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reader, meter := newMeter()
	var hangs atomic.Bool
	release := make(chan struct{})
	defer close(release)
	s.startWith(t, []routing.Registration{{Name: "hangs", Timeout: eventTimeout, Router: routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if hangs.Load() {
			<-release
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	})}}, meter)
	s.awaitPosition(t, s.publishMany(t, 0, 10))
	hangs.Store(true)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	s.publishMany(t, 10, 4)
	awaitPending(t, reader, 4)
}
