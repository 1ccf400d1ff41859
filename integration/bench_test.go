package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	benchUsers      = 10_000
	benchRecipients = 100_000
	benchPending    = 4000 // acknowledgements outstanding while publishing
)

// benchRoutes returns a route for each user to k recipients: random ones, or with
// random 0 the same ones always.
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

// benchUpdate returns an update of about 200 bytes, the mean of the capture.
func benchUpdate(user presence.UserID, n int) []byte {
	return fmt.Appendf(nil, `{"user_id":%q,"state":"online","last_active_ts":%d,"last_federation_update_ts":0,"last_user_sync_ts":%d,"status_msg":"in a meeting","currently_active":true}`,
		user, 1795378782000+n, 1795378782000+n)
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
