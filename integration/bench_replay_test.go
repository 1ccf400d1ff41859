package integration_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/modules/broadcast"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// BenchmarkSendOnlinePresence measures what it takes to send the states of 100,000
// users to one who sees everybody, with the broadcast module. One operation is one
// query.
func BenchmarkSendOnlinePresence(b *testing.B) {
	const users = 100_000
	server := natstest.StartProcess(b, natstest.ProcessOptions{Binary: binaries.natsServer})
	gobbler := presence.MustUserID("@gobbler:example.com")
	router, err := broadcast.New(broadcast.Config{Users: []presence.UserID{gobbler}})
	if err != nil {
		b.Fatal(err)
	}
	bench := newRouterBench(b, server.URL(), topology.File, router)
	bench.publish(b, users, func(i int) (string, []byte) {
		return fmt.Sprintf("presence.update.example%%2Ecom.user%d", i), benchUpdate(benchUser(i), i)
	})
	bench.serve(b)
	bench.awaitCommitted(b, users)
	client := natstest.Connect(b, server.URL())
	request := wire.SendOnlinePresenceRequest{Users: []presence.UserID{gobbler}}.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		reply, err := client.Request("presence.router."+wire.SendOnlinePresence, request, time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := wire.DecodeSendOnlinePresenceAnswer(reply.Data)
		if err != nil || answer.Users[0].States != users {
			b.Fatalf("sent %s, %v, want %d states; error %s", reply.Data, err, users, reply.Header.Get(wire.ErrorHeader))
		}
	}
	b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "states/s")
}
