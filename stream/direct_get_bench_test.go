package stream_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
)

// BenchmarkDirectGet compares the client of the query service with the one of
// jetstreamext: the last messages of 1,000 of 10,000 subjects, in memory. One
// operation is one read of all of them.
func BenchmarkDirectGet(b *testing.B) {
	js := natstest.JetStream(b, natstest.Connect(b, natstest.Run(b).URL()))
	subjects := storeStates(b, js, jetstream.MemoryStorage, 10_000)[:1000]
	clients := map[string]func(context.Context) (int, error){
		"own":          stream.OwnGetter(js.Conn(), "STATES", subjects),
		"jetstreamext": extensionGetter(js, "STATES", subjects),
	}
	for _, name := range []string{"own", "jetstreamext"} {
		b.Run("client="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if found, err := clients[name](b.Context()); err != nil || found != len(subjects) {
					b.Fatalf("%d messages, %v", found, err)
				}
			}
		})
	}
}

// BenchmarkStateMemory measures what a server with file storage keeps in memory for
// each subject of a stream of newest states.
func BenchmarkStateMemory(b *testing.B) {
	const users = 100_000
	js := natstest.JetStream(b, natstest.Connect(b, natstest.Run(b).URL()))
	for b.Loop() {
		before := heap()
		subjects := storeStates(b, js, jetstream.FileStorage, users)
		grown := heap() - before
		b.ReportMetric(float64(grown)/float64(len(subjects)), "heap-B/user")
		if err := js.DeleteStream(b.Context(), "STATES"); err != nil {
			b.Fatal(err)
		}
	}
}

// heap returns the bytes of live objects.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc) //nolint:gosec // Far below 2^63.
}

// storeStates makes a stream with a message on each of n subjects, which it
// returns.
func storeStates(b *testing.B, js jetstream.JetStream, storage jetstream.StorageType, n int) []string {
	b.Helper()
	_, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "STATES", Subjects: []string{"state.>"}, Storage: storage, MaxMsgsPerSubject: 1, AllowDirect: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	subjects := make([]string, n)
	for i := range subjects {
		subjects[i] = fmt.Sprintf("state.example%%2Ecom.user%d", i)
		if _, err := js.PublishAsync(subjects[i], make([]byte, 250), jetstream.WithStallWait(eventTimeout)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return subjects
}

func extensionGetter(js jetstream.JetStream, name string, subjects []string) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		messages, err := jetstreamext.GetLastMsgsFor(ctx, js, name, subjects)
		if err != nil {
			return 0, err
		}
		found := 0
		for _, err := range messages {
			if err != nil {
				return found, err
			}
			found++
		}
		return found, nil
	}
}
