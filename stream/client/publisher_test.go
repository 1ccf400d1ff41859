package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	alice = "@alice:example.com"
	bob   = "@bob:example.com"
	eva   = "@eva:somewhere.org"
)

func isUpdate(frame []byte) bool { return bytes.Contains(frame, []byte("PUB presence.update.")) }

func isAck(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`{"stream":"PRESENCE_UPDATES","seq":`))
}

// once has the first frame that fits meet its verdict, and lets the others pass.
func once(fits func([]byte) bool, verdict natstest.Verdict) func([]byte) ([]byte, natstest.Verdict) {
	met := false
	return func(frame []byte) ([]byte, natstest.Verdict) {
		if met || !fits(frame) {
			return frame, natstest.Pass
		}
		met = true
		return frame, verdict
	}
}

func quick(c *client.PublisherConfig) { c.AckTimeout = 200 * time.Millisecond }

func TestPublisherStoresEveryUpdateOnceAndInOrder(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		proxy *natstest.Proxy
	}{
		{"nothing fails", &natstest.Proxy{}},
		{"an update is lost", &natstest.Proxy{FromClient: once(isUpdate, natstest.Swallow)}},
		{"an answer is lost", &natstest.Proxy{FromServer: once(isAck, natstest.Swallow)}},
		{"the connection breaks before an update", &natstest.Proxy{FromClient: once(isUpdate, natstest.Sever)}},
		{"the connection breaks before an answer", &natstest.Proxy{FromServer: once(isAck, natstest.Sever)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			p := publisher(t, newClient(t, tt.proxy.Start(t, s.server.URL())), quick)
			want := make(map[string][]int64)
			for n := range 50 {
				for _, user := range []string{alice, bob, eva} {
					want[user] = append(want[user], int64(n))
					if err := p.Publish(t.Context(), identified(user, n), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if got := s.stored(t); !reflect.DeepEqual(got, want) {
				t.Errorf("the stream holds %v, want %v", got, want)
			}
		})
	}
}

func TestPublisherOutlivesItsServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := publisher(t, newClient(t, s.server.URL()))
	const users, each = 7, 1000
	halfway, published := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := range each {
			for u := range users {
				if err := p.Publish(t.Context(), identified(fmt.Sprintf("@user%d:example.com", u), n), nil); err != nil {
					published <- err
					return
				}
			}
			if n == each/2 {
				close(halfway)
			}
		}
		published <- p.Close(t.Context())
	}()
	await(t, halfway, "first half")
	restarted := natstest.Restart(t, s.server)
	if err := await(t, published, "end of publishing"); err != nil {
		t.Fatal(err)
	}
	s.js = natstest.JetStream(t, natstest.Connect(t, restarted.URL()))
	got := s.stored(t)
	for user, numbers := range got {
		for n := range each {
			if n >= len(numbers) || numbers[n] != int64(n) {
				t.Fatalf("the stream holds %d updates of %s, another one in place of %d: want each once, in order", len(numbers), user, n)
			}
		}
	}
	if len(got) != users {
		t.Errorf("the stream holds updates of %d users, want %d", len(got), users)
	}
}

// outcome is what a promise was told.
type outcome struct {
	receipt client.Receipt
	err     error
}

func publishOne(t *testing.T, p *client.Publisher, u client.Update) outcome {
	t.Helper()
	told := make(chan outcome, 1)
	if err := p.Publish(t.Context(), u, func(r client.Receipt, err error) { told <- outcome{r, err} }); err != nil {
		t.Fatal(err)
	}
	return await(t, told, "outcome")
}

func TestPublisherSaysWhereAnUpdateIs(t *testing.T) {
	t.Parallel()
	p := publisher(t, newClient(t, newSite(t).server.URL()))
	for _, want := range []client.Receipt{{Sequence: 1}, {Sequence: 1, Duplicate: true}} {
		if got := publishOne(t, p, identified(bob, 1)); got.err != nil || got.receipt != want {
			t.Errorf("promise is told %+v, want %+v", got, want)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPublisherPublishesWhatItIsGiven(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := publisher(t, newClient(t, s.server.URL()))
	json := `{"user_id" : "@jo.ann:example.com", "state":"online", "colour":["red"]}`
	u, err := client.ParseUpdate([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	u.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	sequence := publishOne(t, p, u).receipt.Sequence
	updates, err := s.js.Stream(t.Context(), "PRESENCE_UPDATES")
	if err != nil {
		t.Fatal(err)
	}
	m, err := updates.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(m.Subject, ".example%2Ecom.jo%2Eann") || string(m.Data) != json || m.Header.Get("traceparent") != u.Traceparent {
		t.Errorf("stored on %s is %s with %v, want the update as it is", m.Subject, m.Data, m.Header)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPublisherRefuses(t *testing.T) {
	t.Parallel()
	p := publisher(t, newClient(t, newSite(t).server.URL()))
	with := func(change func(*client.Update)) client.Update {
		u := update(bob, 1)
		change(&u)
		return u
	}
	tests := []struct {
		name   string
		update client.Update
		reason wire.Reason
		says   string
	}{
		{"no user", client.Update{}, wire.InvalidUserID, "user_id is missing"},
		{"no state", with(func(u *client.Update) { u.State.State = "away" }), wire.InvalidState, `"away"`},
		{"a time before the epoch", update(bob, -1), wire.Malformed, "last_active_ts is -1"},
		{"too large", with(func(u *client.Update) { u.State.StatusMsg = presence.Status(strings.Repeat("x", 64<<10)) }), wire.TooLarge, "at most 65536"},
		{"an ID of two lines", with(func(u *client.Update) { u.ID = "a\nb" }), "", `ID is "a\nb"`},
		{"a long ID", with(func(u *client.Update) { u.ID = strings.Repeat("x", 257) }), "", "at most 256"},
		{"a trace context with blanks", with(func(u *client.Update) { u.Traceparent = " 00" }), "", `traceparent is " 00"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := p.Publish(t.Context(), tt.update, func(client.Receipt, error) { t.Error("the promise is called") })
			var invalid *wire.InvalidError
			if tt.reason != "" && (!errors.As(err, &invalid) || invalid.Reason != tt.reason) {
				t.Errorf("Publish() = %v, want reason %s", err, tt.reason)
			}
			var failed *client.PublishError
			if !errors.As(err, &failed) || failed.User != tt.update.State.UserID || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Publish() = %v, want one that names the user and says %q", err, tt.says)
			}
		})
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPublisherGivesUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		stream *jetstream.StreamConfig
		want   error
	}{
		{"no stream takes it", nil, jetstream.ErrStreamNotFound},
		{"another stream takes it", &jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"presence.>"}}, nil},
		{"the stream refuses it", &jetstream.StreamConfig{Name: "PRESENCE_UPDATES", Subjects: []string{"presence.>"}, MaxMsgSize: 10}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			if tt.stream != nil {
				if _, err := s.js.CreateStream(t.Context(), *tt.stream); err != nil {
					t.Fatal(err)
				}
			}
			// The limit on retries is beyond the bound of the test.
			p := publisher(t, newClient(t, s.server.URL()), func(c *client.PublisherConfig) { c.RetryLimit = 2 * bound })
			got := publishOne(t, p, identified(bob, 1))
			if got.err == nil || errors.Is(got.err, client.ErrUnknownOutcome) || tt.want != nil && !errors.Is(got.err, tt.want) {
				t.Errorf("promise is told %v, want %v", got.err, tt.want)
			}
			if err := p.Close(t.Context()); err == nil || err.Error() != got.err.Error() {
				t.Errorf("Close() = %v, want %v", err, got.err)
			}
		})
	}
}

func TestPublisherWaitsForRoomInTheStream(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config := jetstream.StreamConfig{Name: "PRESENCE_UPDATES", Subjects: []string{"presence.>"}, MaxMsgs: 1, Discard: jetstream.DiscardNew}
	if _, err := s.js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p := publisher(t, newClient(t, s.server.URL()))
	if got := publishOne(t, p, update(bob, 0)); got.err != nil {
		t.Fatal(got.err)
	}
	stored := make(chan error, 3)
	for n := range cap(stored) {
		if err := p.Publish(t.Context(), update(bob, n+1), func(_ client.Receipt, err error) { stored <- err }); err != nil {
			t.Fatal(err)
		}
	}
	config.MaxMsgs = 10
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	for range cap(stored) {
		if err := await(t, stored, "outcome"); err != nil {
			t.Error(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got, want := s.stored(t), (map[string][]int64{bob: {0, 1, 2, 3}}); !reflect.DeepEqual(got, want) {
		t.Errorf("the stream holds %v, want %v", got, want)
	}
}

func TestPublisherIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.server.Shutdown()
	p := publisher(t, c, func(c *client.PublisherConfig) { c.MaxPending = 3 })
	outcomes := make(chan error, 3)
	for n := range cap(outcomes) {
		if err := p.Publish(t.Context(), identified(bob, n), func(_ client.Receipt, err error) { outcomes <- err }); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	end(enough)
	if err := p.Publish(ended, identified(bob, 3), nil); !errors.Is(err, enough) {
		t.Errorf("Publish() = %v with 3 updates pending, want the end of its context", err)
	}
	if err := p.Flush(ended); !errors.Is(err, enough) {
		t.Errorf("Flush() = %v, want the end of its context", err)
	}
	err := p.Close(ended)
	if !errors.Is(err, enough) || !errors.Is(err, client.ErrClosed) || !strings.Contains(err.Error(), "3 updates") {
		t.Errorf("Close() = %v, want what became of 3 updates", err)
	}
	for range cap(outcomes) {
		if err := await(t, outcomes, "outcome"); !errors.Is(err, client.ErrClosed) {
			t.Errorf("promise is told %v, want that the publisher is closed", err)
		}
	}
	if err := p.Publish(t.Context(), update(bob, 4), nil); !errors.Is(err, client.ErrClosed) {
		t.Errorf("Publish() = %v after Close, want ErrClosed", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v once more, want nil", err)
	}
}

func TestPublisherEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, end := context.WithCancelCause(t.Context())
	proxy := &natstest.Proxy{FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
		if isAck(frame) {
			return frame, natstest.Swallow
		}
		return frame, natstest.Pass
	}}
	p, err := newClient(t, proxy.Start(t, s.server.URL())).Publisher(ctx, client.DefaultPublisherConfig())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan error, 1)
	if err := p.Publish(t.Context(), update(bob, 1), func(_ client.Receipt, err error) { outcomes <- err }); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	end(enough)
	if err := await(t, outcomes, "outcome"); !errors.Is(err, enough) || !errors.Is(err, client.ErrClosed) {
		t.Errorf("promise is told %v, want the end of the context", err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Errorf("Flush() = %v, want that the publisher is closed", err)
	}
	if err := p.Close(t.Context()); !errors.Is(err, enough) {
		t.Errorf("Close() = %v, want the update it gave up", err)
	}
}

func TestPublisherServesManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := publisher(t, newClient(t, s.server.URL()), func(c *client.PublisherConfig) { c.MaxPending = 10 })
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 100 {
				if err := p.Publish(t.Context(), update(fmt.Sprintf("@user%d:example.com", g), n), nil); err != nil {
					t.Error(err)
				}
			}
			if err := p.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for user, numbers := range s.stored(t) {
		for n := range 100 {
			if n >= len(numbers) || numbers[n] != int64(n) {
				t.Fatalf("the stream holds %v of %s, want 0 to 99 in order", numbers, user)
			}
		}
	}
}

func TestPublisherConfig(t *testing.T) {
	t.Parallel()
	_, err := newClient(t, newServer(t).server.URL()).Publisher(t.Context(), client.PublisherConfig{RetryLimit: time.Hour})
	for _, part := range []string{"MaxPending is 0: want 1 to 65536", "MaxUpdateBytes is 0", "AckTimeout is 0s", "RetryLimit is 1h0m0s: want 0s to 1m30s"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("Publisher() = %v, want %q in it", err, part)
		}
	}
}
