package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
)

const named = "sync"

// readNamed reads n deliveries to alice through the named consumer and ends then.
func readNamed(t *testing.T, c *client.Client, after client.Position, n int) (got []uint64, last client.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for d, err := range c.Deliveries(ctx, client.ToUser(presence.MustUserID(alice)), after) {
		if err != nil {
			t.Fatalf("read is error %v behind %v", err, got)
		}
		got, last = append(got, d.Sequences[0]), d.Position
		if len(got) == n {
			break
		}
	}
	return got, last
}

func TestNamedReaderGoesOnFromAPosition(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL(), client.WithConsumerName(named))
	for n := range uint64(5) {
		s.deliver(t, alice, 1, online(bob, n+1))
		s.store(t, "presence.checkpoint.0", "{}")
	}
	got, second := readNamed(t, c, client.Position{}, 2)
	wantSequences(t, "from the beginning", got, 1, 2)
	got, _ = readNamed(t, c, second, 3)
	wantSequences(t, "behind the second", got, 3, 4, 5)
	// The message before the position is gone: the next one is the same.
	s.forget(t, second.Sequence)
	got, _ = readNamed(t, c, second, 3)
	wantSequences(t, "behind what is gone", got, 3, 4, 5)
	// The stream has no message of the position's time there, or none at all.
	for _, sequence := range []uint64{9, 10, 30} {
		rolledBack := second
		rolledBack.Sequence = sequence
		got, _ = readNamed(t, c, rolledBack, 3)
		wantSequences(t, fmt.Sprintf("of a stream that was rolled back before %d", sequence), got, 3, 4, 5)
	}
}

// What a reader that was killed has left behind does not stop the next one, and the
// consumer goes with a reader that ends.
func TestNamedReaderTakesItsConsumerOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL(), client.WithConsumerName(named))
	s.deliver(t, alice, 1, online(bob, 1))
	if _, err := s.js.CreateConsumer(t.Context(), "PRESENCE_DELIVERIES", jetstream.ConsumerConfig{
		Name: named, FilterSubject: "presence.deliver.remote.>", InactiveThreshold: time.Hour,
	}); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, err := range c.Deliveries(t.Context(), client.All(), client.Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		names = s.consumers(t)
		break
	}
	if left := s.consumers(t); len(names) != 1 || !names[named] || len(left) != 0 {
		t.Errorf("a reader has consumers %v and leaves %v, want %s and none", names, left, named)
	}
}

// consumers returns the names of the consumers of the deliveries stream.
func (s *site) consumers(t *testing.T) map[string]bool {
	t.Helper()
	deliveriesStream, err := s.js.Stream(t.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	list := deliveriesStream.ConsumerNames(t.Context())
	for name := range list.Name() {
		names[name] = true
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestNamedReaderTellsOfWhatExpired(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL(), client.WithConsumerName(named))
	deliveriesStream, err := s.js.Stream(t.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		t.Fatal(err)
	}
	config := deliveriesStream.CachedInfo().Config
	config.MaxAge, config.Duplicates = 100*time.Millisecond, 100*time.Millisecond
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	s.deliver(t, alice, 1, online(bob, 1))
	position := end(t, c)
	for n := range uint64(2) {
		s.keep(t, n+2)
	}
	deadline := time.Now().Add(bound)
	for natstest.Count(t, s.js, "PRESENCE_DELIVERIES", ">") > 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // The server expires messages in its own time.
	}
	// What comes next is there: nothing was missed, however old the position is.
	got, _ := readNamed(t, c, position, 2)
	wantSequences(t, "behind an old position", got, 2, 3)
	s.forget(t, position.Sequence+1)
	r := deliveries(t, c, client.All(), position)
	_, err, _ = r.next()
	if expired, ok := errors.AsType[*client.ExpiredError](err); !ok || expired.After.Sequence != 1 {
		t.Errorf("read is error %v, want that deliveries may be missing", err)
	}
	wantSequences(t, "behind the error", sequencesOf(t, r, 1), 3)
}

// keep stores a delivery to alice that does not expire.
func (s *site) keep(t *testing.T, sequence uint64) {
	t.Helper()
	data := fmt.Sprintf(`{"recipient":%q,"epoch":1,"sequences":[%d],"states":[{"user_id":%q,"state":"online"}]}`, alice, sequence, bob)
	m := &nats.Msg{Subject: "presence.deliver.local.14.example%2Ecom.alice", Header: nats.Header{"Nats-TTL": {"never"}}, Data: []byte(data)}
	if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestAPIPrefixIsChecked(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, newServer(t).server.URL())
	if _, err := client.New(nc, client.DefaultPrefix, client.WithAPIPrefix("a.*")); err == nil || !strings.Contains(err.Error(), `API prefix is "a.*"`) {
		t.Errorf("a client with API prefix a.* is error %v, want one that names it", err)
	}
}

func TestConsumerNameIsOneToken(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, newServer(t).server.URL())
	for _, bad := range []string{"a.b", "*", ">", "a b", `a\b`, strings.Repeat("x", 256)} {
		if _, err := client.New(nc, client.DefaultPrefix, client.WithConsumerName(bad)); err == nil || !strings.Contains(err.Error(), "consumer name is") {
			t.Errorf("a client with consumer name %.20q is error %v, want one that names it", bad, err)
		}
	}
}
