package sender_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/sender"
)

// Somebody who knows the inbox of a sender sends it a message whose acknowledgement
// would go elsewhere.
func TestForgedMessageIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	requests, elsewhere := make(chan *nats.Msg, 1000), make(chan *nats.Msg, 1000)
	for subject, messages := range map[string]chan *nats.Msg{"$JS.API.CONSUMER.MSG.NEXT.>": requests, "elsewhere.>": elsewhere} {
		if _, err := s.nc.ChanSubscribe(subject, messages); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r := s.run(t, config(), func(context.Context, sender.Batch) error { return nil })
	pull := await(t, requests, "request of the sender")
	if err := s.nc.PublishMsg(&nats.Msg{Subject: pull.Reply, Reply: "elsewhere.delete", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "message that is no delivery", func() bool { return r.measured(t, "presence_router_sender_malformed_deliveries", "") == 1 })
	r.stop()
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(elsewhere) > 0 {
		t.Errorf("the sender published %q to %s", (<-elsewhere).Data, "elsewhere.delete")
	}
}
