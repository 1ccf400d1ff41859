package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	benchUsers      = 10_000
	benchRecipients = 100_000
	benchPending    = 4000 // acknowledgements outstanding while publishing, as in R
)

// BenchmarkPipeline measures how fast one worker routes a backlog, on a
// nats-server process beside it, and prints the ratio to two limits of the same
// server, measured right before: R, the rate at which it takes messages like the
// deliveries with PublishAsync, and B, the rate at which it takes them in atomic
// batches of 1,000, one at a time. One operation is one update.
func BenchmarkPipeline(b *testing.B) {
	for _, storage := range []stream.Storage{stream.File, stream.Memory} {
		for _, k := range []int{1, 10} {
			b.Run(fmt.Sprintf("storage=%s/k=%d", storage, k), func(b *testing.B) { benchPipeline(b, storage, k, k) })
		}
		b.Run(fmt.Sprintf("storage=%s/fan-in=10", storage), func(b *testing.B) { benchPipeline(b, storage, 10, 0) })
	}
}

// benchPipeline routes b.N updates to k recipients each: random ones, or with
// random 0 the same ones always.
func benchPipeline(b *testing.B, storage stream.Storage, k, random int) {
	b.Helper()
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	bench := newPipelineBench(b, server.URL(), storage, benchRoutes(k, random))
	bench.publishUpdates(b, b.N)
	raw, batched := bench.rawRates(b)

	b.ResetTimer()
	took := bench.drain(b, b.N)
	b.StopTimer()

	updates := float64(b.N) / took.Seconds()
	b.ReportMetric(updates, "updates/s")
	b.ReportMetric(updates*float64(k), "pairs/s")
	b.ReportMetric(raw, "R/s")
	b.ReportMetric(batched, "B/s")
	b.ReportMetric(updates*float64(k)/raw, "pairs/R")
	b.ReportMetric(updates*float64(k)/batched, "pairs/B")
}

func benchRoutes(k, random int) []static.Route {
	numbers := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // A benchmark wants the same numbers each time.
	routes := make([]static.Route, benchUsers)
	for user := range routes {
		route := static.Route{Users: []presence.UserID{benchUser(user)}}
		for i := range k {
			recipient := i
			if random > 0 {
				recipient = numbers.IntN(benchRecipients)
			}
			route.Recipients = append(route.Recipients, presence.MustUserID(fmt.Sprintf("@reader%d:example.com", recipient)))
		}
		routes[user] = route
	}
	return routes
}

func benchUser(n int) presence.UserID {
	return presence.MustUserID(fmt.Sprintf("@user%d:example.com", n))
}

// publishUpdates stores n updates of random users and waits until they are acknowledged.
func (p *pipelineBench) publishUpdates(b *testing.B, n int) {
	b.Helper()
	subjects, err := wire.NewSubjects(p.config.Streams.Prefix)
	if err != nil {
		b.Fatal(err)
	}
	numbers := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // A benchmark wants the same numbers each time.
	p.publish(b, n, func(i int) (string, []byte) {
		user := benchUser(numbers.IntN(benchUsers))
		return subjects.Update(user), benchUpdate(user, i)
	})
}

// benchUpdate returns an update of about 200 bytes, the mean of the capture.
func benchUpdate(user presence.UserID, n int) []byte {
	return fmt.Appendf(nil, `{"user_id":%q,"state":"online","last_active_ts":%d,"last_federation_update_ts":0,"last_user_sync_ts":%d,"status_msg":"in a meeting","currently_active":true}`,
		user, 1795378782000+n, 1795378782000+n)
}

// rawRates returns R and B: messages per second with PublishAsync and with atomic
// batches, into a stream like the deliveries stream.
func (p *pipelineBench) rawRates(b *testing.B) (raw, batched float64) {
	b.Helper()
	config := jetstream.StreamConfig{
		Name: "RAW", Subjects: []string{"raw.>"}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		AllowDirect: true, AllowRollup: true, AllowMsgTTL: true, AllowAtomicPublish: true, MaxAge: 15 * time.Minute,
	}
	if p.config.Streams.Storage == stream.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	if _, err := p.js.CreateStream(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	payload := benchDelivery(b)
	message := func(i int) (string, []byte) {
		return fmt.Sprintf("raw.local.7.example%%2Ecom.reader%d", i%benchRecipients), payload
	}
	const messages = 100_000
	raw = rate(messages, func() { p.publish(b, messages, message) })
	batched = rate(messages, func() { p.publishBatches(b, messages, message) })
	if err := p.js.DeleteStream(b.Context(), "RAW"); err != nil {
		b.Fatal(err)
	}
	return raw, batched
}

// benchDelivery returns a delivery of one state.
func benchDelivery(b *testing.B) []byte {
	b.Helper()
	state, err := wire.DecodeUpdate(benchUpdate(benchUser(0), 0), 1, 64<<10)
	if err != nil {
		b.Fatal(err)
	}
	return wire.AppendDelivery(nil, wire.Delivery{
		Recipient: benchUser(0), Epoch: 1795378782000, States: []presence.UserState{state},
	})
}

func rate(n int, work func()) float64 {
	began := time.Now()
	work()
	return float64(n) / time.Since(began).Seconds()
}

// publishBatches publishes n messages, a multiple of 1,000, in atomic batches.
func (p *pipelineBench) publishBatches(b *testing.B, n int, message func(i int) (string, []byte)) {
	b.Helper()
	const size = 1000
	for first := 0; first < n; first += size {
		batch := nats.Header{"Nats-Batch-Id": {fmt.Sprintf("batch-%d", first)}, "Nats-Batch-Sequence": {""}}
		for i := range size {
			batch["Nats-Batch-Sequence"][0] = strconv.Itoa(i + 1)
			subject, data := message(first + i)
			m := &nats.Msg{Subject: subject, Data: data, Header: batch}
			if i < size-1 {
				if err := p.nc.PublishMsg(m); err != nil {
					b.Fatal(err)
				}
				continue
			}
			batch["Nats-Batch-Commit"] = []string{"1"}
			if _, err := p.js.PublishMsg(b.Context(), m); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func (p *pipelineBench) publish(b *testing.B, n int, message func(i int) (string, []byte)) {
	b.Helper()
	js, err := jetstream.New(p.nc, jetstream.WithPublishAsyncMaxPending(benchPending), jetstream.WithPublishAsyncTimeout(time.Minute))
	if err != nil {
		b.Fatal(err)
	}
	var futures []jetstream.PubAckFuture
	for i := range n {
		subject, data := message(i)
		future, err := js.PublishAsync(subject, data, jetstream.WithStallWait(time.Minute))
		if err != nil {
			b.Fatal(err)
		}
		futures = append(futures, future)
	}
	<-js.PublishAsyncComplete()
	for _, future := range futures {
		select {
		case err := <-future.Err():
			b.Fatal(err)
		default:
		}
	}
}

// drain runs the worker until every one of n updates is committed and returns how
// long that took.
func (p *pipelineBench) drain(b *testing.B, n int) time.Duration {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- p.worker.Run(ctx) }()
	p.awaitCommitted(b, uint64(n)) //nolint:gosec // b.N is positive.
	took := time.Since(began)
	stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// awaitCommitted follows the checkpoints until one covers the last update.
func (p *pipelineBench) awaitCommitted(b *testing.B, last uint64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	consumer, err := p.js.OrderedConsumer(ctx, "PRESENCE_DELIVERIES", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"presence.checkpoint.*"}})
	if err != nil {
		b.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		b.Fatal(err)
	}
	defer messages.Stop()
	pending := p.lastOfPartitions(b, last)
	for len(pending) > 0 {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			b.Fatal(err)
		}
		checkpoint, err := wire.DecodeCheckpoint(m.Data())
		if err != nil {
			b.Fatal(err)
		}
		if wanted, ok := pending[m.Subject()]; ok && checkpoint.Sequence >= wanted {
			delete(pending, m.Subject())
		}
	}
}

// lastOfPartitions returns the last sequence of each partition that has updates,
// by checkpoint subject.
func (p *pipelineBench) lastOfPartitions(b *testing.B, last uint64) map[string]uint64 {
	b.Helper()
	updates, err := p.js.Stream(b.Context(), "PRESENCE_UPDATES")
	if err != nil {
		b.Fatal(err)
	}
	wanted := make(map[string]uint64)
	for partition := range p.config.Streams.Partitions {
		m, err := updates.GetLastMsgForSubject(b.Context(), fmt.Sprintf("presence.update.%d.*.*", partition))
		if err == nil && m.Sequence <= last {
			wanted[fmt.Sprintf("presence.checkpoint.%d", partition)] = m.Sequence
		}
	}
	return wanted
}
