package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/topology"
)

// benchSite returns a client, and the JetStream of a server with streams.
func benchSite(b *testing.B) (*client.Client, jetstream.JetStream) {
	b.Helper()
	nc := natstest.Connect(b, natstest.Run(b).URL())
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		b.Fatal(err)
	}
	topology, err := topology.New(js, streams())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := topology.Apply(b.Context()); err != nil {
		b.Fatal(err)
	}
	c, err := client.New(nc, client.DefaultPrefix)
	if err != nil {
		b.Fatal(err)
	}
	return c, js
}

// BenchmarkPublisher publishes updates of so many users in turn; raw is what the
// client library does with the same messages and no promise of order.
func BenchmarkPublisher(b *testing.B) {
	for _, users := range []int{1, 100, 10_000} {
		for _, id := range []bool{false, true} {
			b.Run(fmt.Sprintf("users=%d/id=%t", users, id), func(b *testing.B) { benchPublisher(b, users, id) })
		}
	}
	b.Run("raw", func(b *testing.B) {
		_, js := benchSite(b)
		data := []byte(`{"user_id":"@user00001:example.com","state":"online","last_active_ts":17}`)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := js.PublishAsync("presence.update.example%2Ecom.user00001", data, jetstream.WithStallWait(time.Minute)); err != nil {
				b.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
	})
}

func benchPublisher(b *testing.B, users int, id bool) {
	b.Helper()
	c, _ := benchSite(b)
	updates := make([]client.Update, users)
	for u := range updates {
		updates[u] = update(fmt.Sprintf("@user%05d:example.com", u), 17)
	}
	p, err := c.Publisher(b.Context(), client.DefaultPublisherConfig())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		one := updates[n%users]
		if n++; id {
			one.ID = fmt.Sprintf("bench-%d", n)
		}
		if err := p.Publish(b.Context(), one, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
