package stream_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/wire"
)

// delivery is one delivery as it is stored.
type delivery struct {
	wire.ReceivedDelivery

	subject  string
	header   nats.Header
	data     []byte
	position uint64 // in the deliveries stream
}

// deliveries returns the deliveries that are stored, in order.
func (s *site) deliveries(t *testing.T) []delivery {
	t.Helper()
	var found []delivery
	for _, m := range natstest.Stored(t, s.js, s.subjects.DeliveriesStream(), s.subjects.Deliveries()) {
		decoded, err := wire.DecodeDelivery(m.Data())
		if err != nil {
			t.Fatalf("decode %s: %v", m.Data(), err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, delivery{
			ReceivedDelivery: decoded, subject: m.Subject(), header: m.Headers(), data: m.Data(), position: meta.Sequence.Stream,
		})
	}
	return found
}

// sequences returns the sequences that each recipient received, in order.
func sequences(deliveries []delivery) map[string][]uint64 {
	received := make(map[string][]uint64)
	for _, d := range deliveries {
		received[d.Recipient.String()] = append(received[d.Recipient.String()], d.Sequences...)
	}
	return received
}

// wantOnce checks that each of recipients received the updates first to last once
// and in order, and nobody else anything.
func wantOnce(t *testing.T, deliveries []delivery, first, last uint64, recipients ...string) {
	t.Helper()
	var want []uint64
	for sequence := first; sequence <= last; sequence++ {
		want = append(want, sequence)
	}
	received := sequences(deliveries)
	for _, r := range recipients {
		if !slices.Equal(received[r], want) {
			t.Errorf("%s received %v, want %v", r, received[r], want)
		}
		delete(received, r)
	}
	if len(received) > 0 {
		t.Errorf("these received something too: %v", slices.Sorted(maps.Keys(received)))
	}
}
