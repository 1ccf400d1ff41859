package client_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestSelections(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.deliver(t, alice, 1, online(bob, 1))
	s.deliver(t, eva, 1, online(bob, 2))
	s.deliver(t, "@jo.ann:example.com", 1, online(bob, 3))
	s.deliver(t, "@jo.ann:matrix.org:8448", 1, online(bob, 4))
	s.deliver(t, "@:somewhere.org", 1, online(bob, 5))
	shard := wire.Shard(wire.Local, presence.MustUserID(alice), shards)
	tests := []struct {
		name      string
		selection client.Selection
		filter    string
		want      []uint64
	}{
		{"all", client.All(), "presence.deliver.>", []uint64{1, 2, 3, 4, 5}},
		{"none given", client.Selection{}, "presence.deliver.>", []uint64{1, 2, 3, 4, 5}},
		{"local users", client.InScope(wire.Local), "presence.deliver.local.>", []uint64{1, 3}},
		{"remote users", client.InScope(wire.Remote), "presence.deliver.remote.>", []uint64{2, 4, 5}},
		{"a shard", client.InShard(wire.Local, shard), "presence.deliver.local.14.>", []uint64{1}},
		{"a server", client.ToServer(presence.MustServerName("somewhere.org")), "presence.deliver.*.*.somewhere%2Eorg.*", []uint64{2, 5}},
		{"a user", client.ToUser(presence.MustUserID("@jo.ann:matrix.org:8448")), "presence.deliver.*.*.matrix%2Eorg%3A8448.jo%2Eann", []uint64{4}},
		{"a user without a name", client.ToUser(presence.MustUserID("@:somewhere.org")), "presence.deliver.*.*.somewhere%2Eorg.%", []uint64{5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.Filter(tt.selection); got != tt.filter {
				t.Errorf("filter is %s, want %s", got, tt.filter)
			}
			wantSequences(t, tt.name, sequencesOf(t, deliveries(t, c, tt.selection, client.Position{}), len(tt.want)), tt.want...)
		})
	}
}

func TestDeliveriesAreThoseStoredAndThoseToCome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	for n := range uint64(3) {
		s.deliver(t, alice, 1, online(bob, n+1))
	}
	fromNow, fromOldest := deliveries(t, c, client.All(), end(t, c)), deliveries(t, c, client.All(), client.Position{})
	wantSequences(t, "stored", sequencesOf(t, fromOldest, 3), 1, 2, 3)
	s.deliver(t, alice, 1, online(bob, 4))
	wantSequences(t, "to come", sequencesOf(t, fromOldest, 1), 4)
	wantSequences(t, "from now", sequencesOf(t, fromNow, 1), 4)
}

func TestDeliveryHasWhatItsMessageSays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	data := `{"recipient":"@alice:example.com","epoch":7,"sequences":[42],"states":[{"user_id" : "@bob:example.com","state":"online"}]}`
	m := nats.NewMsg("presence.deliver.local.14.example%2Ecom.alice")
	m.Data = []byte(data)
	m.Header.Set("Presence-Replay", "1")
	m.Header.Set("traceparent", "00-1-2-01")
	if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	s.deliver(t, alice, 7, online(bob, 43))
	r := deliveries(t, newClient(t, s.server.URL()), client.All(), client.Position{})
	got, next := r.want(t), r.want(t)
	if got.Recipient.String() != alice || got.Epoch != 7 || got.Sequences[0] != 42 || got.States[0].State != presence.Online ||
		string(got.Data) != data || got.Subject != m.Subject || !got.IsReplay || got.Traceparent != "00-1-2-01" || got.Pending != 1 {
		t.Errorf("read is %+v, want what was stored", got)
	}
	if next.IsReplay || next.Traceparent != "" || next.Pending != 0 || next.Position.Sequence != 2 || next.Stored.IsZero() {
		t.Errorf("read is %+v, want the second one", next)
	}
}

func TestDeliveriesGoOnFromAPosition(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	for n := range uint64(5) {
		s.deliver(t, alice, 1, online(bob, n+1))
	}
	r := deliveries(t, c, client.All(), client.Position{})
	r.want(t)
	second := r.want(t)
	position, err := client.ParsePosition(second.Position.String())
	if err != nil {
		t.Fatal(err)
	}
	wantSequences(t, "resumed", sequencesOf(t, deliveries(t, c, client.All(), position), 3), 3, 4, 5)
	// The message before the position is gone: the next one is the same.
	s.forget(t, position.Sequence)
	wantSequences(t, "resumed", sequencesOf(t, deliveries(t, c, client.All(), position), 3), 3, 4, 5)
}

func TestDeliveriesGoOnInAnotherStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		renewed func(*testing.T, *site) // the stream, without what was read of it
	}{
		{"made again", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.js.DeleteStream(t.Context(), "PRESENCE_DELIVERIES"); err != nil {
				t.Fatal(err)
			}
			s.applyTopology(t)
		}},
		{"made again, and longer", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.js.DeleteStream(t.Context(), "PRESENCE_DELIVERIES"); err != nil {
				t.Fatal(err)
			}
			s.applyTopology(t)
			for range 5 {
				s.store(t, "presence.checkpoint.0", "{}")
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := newClient(t, s.server.URL())
			for n := range uint64(3) {
				s.deliver(t, alice, 1, online(bob, n+1))
			}
			now := end(t, c)
			r := deliveries(t, c, client.All(), client.Position{})
			wantSequences(t, "before", sequencesOf(t, r, 3), 1, 2, 3)
			tt.renewed(t, s)
			for n := range uint64(5) {
				s.deliver(t, alice, 2, online(bob, n+4))
			}
			wantSequences(t, "from now", sequencesOf(t, deliveries(t, c, client.All(), now), 5), 4, 5, 6, 7, 8)
			// A reader of a stream that is deleted ends or goes on, as it notices.
			if d, err, _ := r.next(); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && d.Sequences[0] != 4 {
				t.Errorf("read is %v, %v, want delivery 4 or that the stream was missing", d, err)
			}
		})
	}
}

// A stream that lost its end and got another one has the sequence of the position,
// but another message there.
func TestDeliveriesNoticeAStreamThatWasRolledBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.deliver(t, alice, 1, online(bob, 1))
	r := deliveries(t, c, client.All(), client.Position{})
	position := r.want(t).Position
	s.deliver(t, alice, 1, online(bob, 2))
	s.deliver(t, alice, 1, online(bob, 3))
	position.Sequence = 3 // as read of the end that is lost
	wantSequences(t, "behind it in time", sequencesOf(t, deliveries(t, c, client.All(), position), 2), 2, 3)
	position.Sequence = 30
	wantSequences(t, "behind it in time", sequencesOf(t, deliveries(t, c, client.All(), position), 2), 2, 3)
}

func TestDeliveriesOutliveTheirServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := deliveries(t, newClient(t, s.server.URL()), client.All(), client.Position{})
	s.deliver(t, alice, 1, online(bob, 1))
	wantSequences(t, "before", sequencesOf(t, r, 1), 1)
	restarted := natstest.Restart(t, s.server)
	s.js = natstest.JetStream(t, natstest.Connect(t, restarted.URL()))
	s.deliver(t, alice, 1, online(bob, 2))
	wantSequences(t, "after", sequencesOf(t, r, 1), 2)
}

func TestDeliveriesHaveNoGap(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for n := range uint64(5) {
		s.deliver(t, alice, 1, online(bob, n+1))
	}
	isThird := func(frame []byte) bool { return bytes.Contains(frame, []byte(`"sequences":[3]`)) }
	proxy := &natstest.Proxy{FromServer: once(isThird, natstest.Swallow)}
	r := deliveries(t, newClient(t, proxy.Start(t, s.server.URL())), client.All(), client.Position{})
	wantSequences(t, "with one lost on the way", sequencesOf(t, r, 5), 1, 2, 3, 4, 5)
}

// A reader that waits moves its position to the end of the stream, but not beyond what
// is lost on the way: the next message tells of that.
func TestPositionStaysBeforeWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, alice, 1, online(bob, 1))
	lost, looks := make(chan struct{}), make(chan struct{}, 1000)
	lose := once(func(frame []byte) bool { return bytes.Contains(frame, []byte(`"sequences":[2]`)) }, natstest.Swallow)
	proxy := &natstest.Proxy{
		FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
			frame, verdict := lose(frame)
			if verdict == natstest.Swallow {
				close(lost)
			}
			return frame, verdict
		},
		FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
			if bytes.HasPrefix(frame, []byte("PUB $JS.API.CONSUMER.INFO.PRESENCE_DELIVERIES.")) {
				select {
				case looks <- struct{}{}:
				default: // There were enough.
				}
			}
			return frame, natstest.Pass
		},
	}
	c := newClient(t, proxy.Start(t, s.server.URL()), client.WithLookUps(20*time.Millisecond))
	r := deliveries(t, c, client.All(), client.Position{})
	wantSequences(t, "before", sequencesOf(t, r, 1), 1)
	read := make(chan client.Delivery)
	go func() {
		for range 2 {
			d, _, _ := r.next()
			read <- d
		}
	}()
	s.deliver(t, alice, 1, online(bob, 2))
	await(t, lost, "loss of a message")
	for len(looks) > 0 {
		<-looks
	}
	for range 3 { // When the third begins, two are over that knew of the message.
		await(t, looks, "look-up")
	}
	s.deliver(t, alice, 1, online(bob, 3))
	for _, want := range []uint64{2, 3} {
		if d := await(t, read, "delivery"); len(d.Sequences) != 1 || d.Sequences[0] != want {
			t.Errorf("read is a delivery of updates %v, want %d", d.Sequences, want)
		}
	}
}

func TestDeliveriesTellOfWhatIsNone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.store(t, "presence.deliver.local.1.example%2Ecom.alice", "{}")
	s.deliver(t, alice, 1, online(bob, 1))
	r := deliveries(t, newClient(t, s.server.URL()), client.All(), client.Position{})
	d, err, _ := r.next()
	invalid, ok := errors.AsType[*client.InvalidDeliveryError](err)
	if !ok || invalid.Sequence != 1 || invalid.Subject != d.Subject || string(d.Data) != "{}" || d.Position.Sequence != 1 {
		t.Errorf("read is %+v, %v, want an error about message 1", d, err)
	}
	wantSequences(t, "behind it", sequencesOf(t, r, 1), 1)
}

func TestDeliveriesTellOfWhatExpired(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.deliver(t, alice, 1, online(bob, 1))
	position := end(t, c)
	position.Time = position.Time.Add(-time.Hour) // the stream keeps 15 minutes
	s.deliver(t, alice, 1, online(bob, 2))
	s.deliver(t, alice, 1, online(bob, 3))
	// What comes next is there: nothing was missed, however old the position is.
	wantSequences(t, "behind an old position", sequencesOf(t, deliveries(t, c, client.All(), position), 2), 2, 3)
	s.forget(t, 2)
	r := deliveries(t, c, client.All(), position)
	d, err, _ := r.next()
	if expired, ok := errors.AsType[*client.ExpiredError](err); !ok || expired.After.Sequence != 1 || expired.MaxAge != 15*time.Minute {
		t.Errorf("read is %+v, %v, want that deliveries may be missing", d, err)
	}
	wantSequences(t, "behind the error", sequencesOf(t, r, 1), 3)
}

// forget deletes a message of the deliveries stream, as if it had expired.
func (s *site) forget(t *testing.T, sequence uint64) {
	t.Helper()
	deliveriesStream, err := s.js.Stream(t.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		t.Fatal(err)
	}
	if err := deliveriesStream.DeleteMsg(t.Context(), sequence); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveriesOfNoShard(t *testing.T) {
	t.Parallel()
	c := newClient(t, newSite(t).server.URL())
	for _, shard := range []int{-1, 4096} {
		if _, err, _ := deliveries(t, c, client.InShard(wire.Remote, shard), client.Position{}).next(); err == nil || !strings.Contains(err.Error(), "want 0 to 4095") {
			t.Errorf("read from shard %d is error %v, want which there may be", shard, err)
		}
	}
}

func TestDeliveriesEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t, s.server.URL())
	if _, err, _ := deliveries(t, c, client.All(), client.Position{}).next(); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("read is error %v, want that the stream is missing", err)
	}
	if _, err := c.End(t.Context()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("End() = %v, want that the stream is missing", err)
	}
	s.applyTopology(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	count := 0
	for _, err := range c.Deliveries(ctx, client.All(), client.Position{}) {
		count++
		if !errors.Is(err, enough) {
			t.Errorf("read is error %v, want the cause of the end", err)
		}
	}
	if count != 1 {
		t.Errorf("%d were yielded, want the error alone", count)
	}
}

func TestDeliveriesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, alice, 1, online(bob, 1))
	for _, err := range newClient(t, s.server.URL()).Deliveries(t.Context(), client.All(), client.Position{}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	deliveriesStream, err := s.js.Stream(t.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		t.Fatal(err)
	}
	if got := deliveriesStream.CachedInfo().State.Consumers; got != 0 {
		t.Errorf("the stream has %d consumers after a reader, want 0", got)
	}
}

func TestPositionIsText(t *testing.T) {
	t.Parallel()
	p := client.Position{Sequence: 17, Time: time.Unix(1_800_000_000, 5), Created: time.Unix(1_700_000_000, 0)}
	text, err := p.MarshalText()
	if want := "17/2027-01-15T08:00:00.000000005Z/2023-11-14T22:13:20Z"; err != nil || string(text) != want {
		t.Errorf("MarshalText() = %s, %v, want %s", text, err, want)
	}
	var got client.Position
	if err := got.UnmarshalText(text); err != nil || got.Sequence != 17 || !got.Time.Equal(p.Time) || !got.Created.Equal(p.Created) {
		t.Errorf("UnmarshalText(%s) gives %v, %v, want %v", text, got, err, p)
	}
	if none, err := client.ParsePosition(""); err != nil || !none.IsZero() || none.String() != "" {
		t.Errorf("ParsePosition of nothing = %v, %v, want the beginning", none, err)
	}
	for _, bad := range []string{"17", "x/2027-01-15T08:00:00Z/2027-01-15T08:00:00Z", "1/2/3", "1/2027-01-15T08:00:00Z"} {
		if _, err := client.ParsePosition(bad); err == nil {
			t.Errorf("ParsePosition(%q) has no error", bad)
		}
	}
}
