package stream_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

// BenchmarkConsumers compares one consumer of all updates with one for each of 16
// partitions, in memory. One operation is one read of all updates.
func BenchmarkConsumers(b *testing.B) {
	const partitions, users, updates = 16, 10_000, 200_000
	js := natstest.JetStream(b, natstest.Connect(b, natstest.Run(b).URL()))
	s, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "UPDATES", Subjects: []string{"update.>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		b.Fatal(err)
	}
	for i := range updates {
		subject := fmt.Sprintf("update.%d.example%%2Ecom.user%d", i%users%partitions, i%users)
		if _, err := js.PublishAsync(subject, make([]byte, 150), jetstream.WithStallWait(eventTimeout)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	all := make([]string, partitions)
	for p := range all {
		all[p] = fmt.Sprintf("update.%d.>", p)
	}
	for _, filters := range [][]string{{""}, all} {
		b.Run(fmt.Sprintf("consumers=%d", len(filters)), func(b *testing.B) {
			for b.Loop() {
				readUpdates(b, s, filters, updates)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*updates), "ns/update")
		})
	}
}

// readUpdates reads updates with a consumer for each filter.
func readUpdates(b *testing.B, s jetstream.Stream, filters []string, updates int64) {
	b.Helper()
	var read atomic.Int64
	done := make(chan struct{})
	for _, filter := range filters {
		consumer, err := s.CreateConsumer(b.Context(), jetstream.ConsumerConfig{FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
		if err != nil {
			b.Fatal(err)
		}
		consuming, err := consumer.Consume(func(jetstream.Msg) {
			if read.Add(1) == updates {
				close(done)
			}
		}, jetstream.PullMaxMessages(1000))
		if err != nil {
			b.Fatal(err)
		}
		defer consuming.Stop()
	}
	<-done
}
