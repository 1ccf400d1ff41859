package stream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// captured is the capture as it was published.
type captured struct {
	lines [][]byte
	users []presence.UserID // of lines, by index
}

func readCapture(t *testing.T) captured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("wire", "testdata", "presence-capture.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	c := captured{lines: bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))}
	for _, line := range c.lines {
		var u struct {
			UserID presence.UserID `json:"user_id"`
		}
		if err := json.Unmarshal(line, &u); err != nil {
			t.Fatal(err)
		}
		c.users = append(c.users, u.UserID)
	}
	return c
}

// staticRoutes sends each user of the capture to three recipients: one local, one
// on another server, and one that hears of the users of example.com only.
func staticRoutes(t *testing.T) routing.Router {
	t.Helper()
	return routerOf(t, func(_ context.Context, batch states) (answer, error) {
		a := make(answer)
		for _, s := range batch {
			to := []string{alice, carol}
			if s.UserID.Server() == presence.MustServerName("example.com") {
				to = append(to, "@dave:example.com")
			}
			for _, r := range to {
				id := presence.MustUserID(r)
				a[id] = append(a[id], s)
			}
		}
		return a, nil
	})
}

func TestJourneyOfCapture(t *testing.T) {
	t.Parallel()
	const partitions, shards = 4, 16
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = partitions })
	capture := readCapture(t)
	w := s.start(t, staticRoutes(t))
	last := make(map[int]uint64)
	for i, line := range capture.lines {
		sequence := s.publishRaw(t, s.subjects.Update(capture.users[i]), string(line), nil)
		last[wire.Partition(capture.users[i], partitions)] = sequence
	}
	for p, sequence := range last {
		s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence == sequence })
	}
	w.stop(t)
	deliveries := s.deliveries(t)
	s.checkEnvelopes(t, deliveries, partitions, shards)
	capture.checkStates(t, deliveries)
}

// checkEnvelopes checks what surrounds the states of deliveries.
func (s *site) checkEnvelopes(t *testing.T, deliveries []delivery, partitions, shards int) {
	t.Helper()
	info := s.updatesStream(t).CachedInfo()
	for _, d := range deliveries {
		scope := wire.Remote
		if d.Recipient.Server() == presence.MustServerName("example.com") {
			scope = wire.Local
		}
		if want := s.subjects.Delivery(scope, wire.Shard(scope, d.Recipient, shards), d.Recipient); d.subject != want {
			t.Errorf("delivery to %s is on %s, want %s", d.Recipient, d.subject, want)
		}
		if want := info.Created.UnixMilli(); d.Epoch != want {
			t.Errorf("epoch is %d, want %d", d.Epoch, want)
		}
		source, err := wire.ParseSource(d.header.Get(wire.SourceHeader))
		if err != nil {
			t.Errorf("header %s: %v", wire.SourceHeader, err)
			continue
		}
		if source.First > slices.Min(d.Sequences) || source.Last < slices.Max(d.Sequences) {
			t.Errorf("source %s of a delivery with sequences %v", source, d.Sequences)
		}
		for _, state := range d.States {
			if p := wire.Partition(state.UserID, partitions); p != source.Partition {
				t.Errorf("state of %s, of partition %d, is in a delivery from %d", state.UserID, p, source.Partition)
			}
		}
	}
}

// checkStates checks that each recipient received the updates that are meant for
// them, byte for byte. One that says the same as a later one of the same batch may
// be missing.
func (c captured) checkStates(t *testing.T, deliveries []delivery) {
	t.Helper()
	received := make(map[string]map[uint64]bool)
	newest := make(map[[2]string]uint64)
	for _, d := range deliveries {
		for i, sequence := range d.Sequences {
			if !bytes.Equal(d.RawStates[i], c.lines[sequence-1]) {
				t.Errorf("state %d is %s, published was %s", sequence, d.RawStates[i], c.lines[sequence-1])
			}
			key := [2]string{d.Recipient.String(), d.States[i].UserID.String()}
			if sequence <= newest[key] {
				t.Errorf("%s received %d of %s after %d", key[0], sequence, key[1], newest[key])
			}
			newest[key] = sequence
			if received[key[0]] == nil {
				received[key[0]] = make(map[uint64]bool)
			}
			received[key[0]][sequence] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(received)), []string{alice, carol, "@dave:example.com"}; !slices.Equal(got, want) {
		t.Fatalf("recipients are %v, want %v", got, want)
	}
	for i := range c.lines {
		c.checkRecipients(t, i, received)
	}
}

func (c captured) checkRecipients(t *testing.T, i int, received map[string]map[uint64]bool) {
	t.Helper()
	local := strings.HasSuffix(c.users[i].String(), ":example.com")
	for recipient, want := range map[string]bool{alice: true, "@dave:example.com": local, carol: local} {
		got := received[recipient][uint64(i+1)] //nolint:gosec // An index is not negative.
		if got && !want {
			t.Errorf("%s received update %d of %s", recipient, i+1, c.users[i])
		}
		if !got && want && !c.repeated(i) {
			t.Errorf("%s did not receive update %d of %s", recipient, i+1, c.users[i])
		}
	}
}

// repeated reports whether a later update of the user says the same.
func (c captured) repeated(i int) bool {
	return slices.ContainsFunc(c.lines[i+1:], func(later []byte) bool { return bytes.Equal(later, c.lines[i]) })
}

func TestDeliveriesCanBeFilteredByScopeAndShard(t *testing.T) {
	t.Parallel()
	const shards = 4
	s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.Shards = shards })
	w := s.start(t, toEach(t, append(readers(20), carol, "@erin:somewhere.org")...))
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	found := 0
	for shard := range shards {
		filter := s.subjects.Delivery(wire.Local, shard, presence.MustUserID(alice))
		filter = strings.TrimSuffix(filter, "example%2Ecom.alice") + ">"
		for _, m := range natstest.Stored(t, s.js, s.subjects.DeliveriesStream(), filter) {
			d, err := wire.DecodeDelivery(m.Data())
			if err != nil {
				t.Fatal(err)
			}
			if want := wire.Shard(wire.Local, d.Recipient, shards); want != shard {
				t.Errorf("delivery to %s is in shard %d, want %d", d.Recipient, shard, want)
			}
			found++
		}
	}
	if found != 20 {
		t.Errorf("the shards hold %d local deliveries, want 20", found)
	}
	remote := natstest.Stored(t, s.js, s.subjects.DeliveriesStream(), s.subjects.DeliveriesTo(presence.MustServerName("somewhere.org")))
	if len(remote) != 2 {
		t.Errorf("%d deliveries to somewhere.org, want 2", len(remote))
	}
}

func TestSubjectPrefixIsUsedThroughout(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.Prefix = "acme-1" })
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publish(t, bob, 1))
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 1, alice)
	var m jetstream.Msg
	for _, m = range natstest.Stored(t, s.js, "ACME-1_DELIVERIES", "acme-1.>") {
		if !strings.HasPrefix(m.Subject(), "acme-1.") {
			t.Errorf("subject is %s, want prefix acme-1", m.Subject())
		}
	}
	if m == nil {
		t.Errorf("ACME-1_DELIVERIES is empty")
	}
}
