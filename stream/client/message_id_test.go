package client_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/client"
)

// A publisher publishes with the IDs that another one is about to use, as far as it can
// know them, so that the server takes the other's updates for duplicates.
func TestOthersCannotGuessMessageIDs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	victim := publisher(t, newClient(t, s.server.URL()))
	hostile := publisher(t, newClient(t, s.server.URL()))
	first := publishOne(t, victim, identified(bob, 1))
	updates, err := s.js.Stream(t.Context(), "PRESENCE_UPDATES")
	if err != nil {
		t.Fatal(err)
	}
	m, err := updates.GetMsg(t.Context(), first.receipt.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	seen := m.Header.Get(jetstream.MsgIDHeader)
	id, seal, found := strings.Cut(seen, bob+"-1.")
	if !found || id != "" || len(seal) != 26 {
		t.Fatalf("the message ID is %q, want the ID, a dot and 26 more", seen)
	}

	next := identified(bob, 2)
	for _, guess := range []string{next.ID, next.ID + "." + seal, strings.Replace(seen, "-1.", "-2.", 1), seal, "2." + seal} {
		if _, err := s.js.PublishMsg(t.Context(), &nats.Msg{
			Subject: "presence.update.example%2Ecom.eve", Data: []byte("{}"), Header: nats.Header{jetstream.MsgIDHeader: {guess}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := publishOne(t, hostile, next); got.err != nil || got.receipt.Duplicate {
		t.Errorf("another publisher is told %+v", got)
	}
	if got := publishOne(t, victim, next); got.err != nil || got.receipt.Duplicate {
		t.Errorf("the publisher is told %+v, want that its update is stored", got)
	}
}

func TestPublishersWithTheSameKeyStoreAnUpdateOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	withKey := func(key string) *client.Publisher {
		return publisher(t, newClient(t, s.server.URL()), func(c *client.PublisherConfig) { c.IDKey = key })
	}
	for i, each := range []struct {
		key  string
		want client.Receipt
	}{
		{"0123456789abcdef", client.Receipt{Sequence: 1}},
		{"0123456789abcdef", client.Receipt{Sequence: 1, Duplicate: true}},
		{"0123456789abcdeg", client.Receipt{Sequence: 2}},
	} {
		if got := publishOne(t, withKey(each.key), identified(bob, 1)); got.err != nil || got.receipt != each.want {
			t.Errorf("publisher %d is told %+v, want %+v", i, got, each.want)
		}
	}
	for _, size := range []int{1, 15, 257} {
		config := client.DefaultPublisherConfig()
		config.IDKey = strings.Repeat("x", size)
		err := config.Validate()
		if want := `IDKey is "(hidden)": want 16 to 256 bytes, or none`; err == nil || fmt.Sprint(err) != want {
			t.Errorf("Validate() with %d bytes = %v, want %s", size, err, want)
		}
	}
}
