package client_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

func durable(t *testing.T, c *client.Client, config client.DurableConfig) reader[client.Unacked] {
	t.Helper()
	return read(t, func(ctx context.Context) iter.Seq2[client.Unacked, error] { return c.Durable(ctx, config) })
}

func ack(t *testing.T, u client.Unacked) {
	t.Helper()
	if err := u.Ack(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDurableGoesOnWithWhatIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	config := client.DurableConfig{Name: "sender", Selection: client.InScope(wire.Remote), AckWait: time.Second}
	s.deliver(t, alice, 1, online(bob, 9))
	for n := range uint64(3) {
		s.deliver(t, eva, 1, online(bob, n+1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for u, err := range c.Durable(ctx, config) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Sequences[0] == 2 {
			break // as one that crashes
		}
		ack(t, u)
	}
	restarted := natstest.Restart(t, s.server)
	s.js = natstest.JetStream(t, natstest.Connect(t, restarted.URL()))
	r := durable(t, c, config)
	left := map[uint64]bool{2: true, 3: true}
	for len(left) > 0 {
		u := r.want(t)
		if u.Sequences[0] == 1 {
			t.Fatal("read again is the delivery that was acknowledged")
		}
		if left[u.Sequences[0]] {
			ack(t, u)
		}
		delete(left, u.Sequences[0])
	}
}

func TestDurableRetries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, eva, 1, online(bob, 1))
	r := durable(t, newClient(t, s.server.URL()), client.DurableConfig{Name: "sender"})
	first := r.want(t)
	if err := first.Retry(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	second := r.want(t)
	if first.Attempt != 1 || second.Attempt != 2 || second.Position.Sequence != first.Position.Sequence {
		t.Errorf("read are attempts %d and %d, want the same delivery twice", first.Attempt, second.Attempt)
	}
	ack(t, second)
}

func TestDurableIsNotChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.deliver(t, eva, 1, online(bob, 1))
	ack(t, durable(t, c, client.DurableConfig{Name: "sender"}).want(t))
	_, err, _ := durable(t, c, client.DurableConfig{Name: "sender", Selection: client.InScope(wire.Local)}).next()
	if !errors.Is(err, jetstream.ErrConsumerExists) {
		t.Errorf("read is error %v, want that the durable exists", err)
	}
	if err := c.DeleteDurable(t.Context(), "sender"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteDurable(t.Context(), "sender"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("DeleteDurable() = %v, want that there is none", err)
	}
}

func TestDurableRefusesItsConfig(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	tests := []struct {
		name   string
		config client.DurableConfig
		want   string
	}{
		{"no name", client.DurableConfig{}, `Name is "": want 1 to 255 visible characters`},
		{"dot", client.DurableConfig{Name: "a.b"}, `Name is "a.b"`},
		{"space", client.DurableConfig{Name: "a b"}, `Name is "a b"`},
		{"long name", client.DurableConfig{Name: strings.Repeat("x", 256)}, `Name is "xxx`},
		{"wait", client.DurableConfig{Name: "a", AckWait: -1}, "AckWait is -1ns: want 0s to 24h0m0s"},
		{"unacknowledged", client.DurableConfig{Name: "a", MaxUnacked: -1}, "MaxUnacked is -1: want 0 to 65536"},
		{"shard", client.DurableConfig{Name: "a", Selection: client.InShard(wire.Local, -1)}, "shard is -1: want 0 to 4095"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err, _ := durable(t, c, tt.config).next(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("read is error %v, want %q", err, tt.want)
			}
		})
	}
}

// What the server refuses for good is told, not tried for ever.
func TestDurableThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	found, err := s.js.Stream(t.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		t.Fatal(err)
	}
	config := found.CachedInfo().Config
	config.ConsumerLimits.MaxAckPending = 10
	if _, err := s.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	_, err, _ = durable(t, newClient(t, s.server.URL()), client.DurableConfig{Name: "sender", MaxUnacked: 100}).next()
	if !errors.As(err, new(*jetstream.APIError)) {
		t.Errorf("read is error %v, want what the server says", err)
	}
}

// An acknowledgement that is lost on the way is told to have failed.
func TestAcknowledgementIsConfirmed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, eva, 1, online(bob, 1))
	ctx, cancel := context.WithCancel(t.Context())
	isDone := func(frame []byte) bool {
		return bytes.HasPrefix(frame, []byte("PUB $JS.ACK.")) && bytes.HasSuffix(frame, []byte("\r\n+ACK\r\n"))
	}
	proxy := &natstest.Proxy{FromClient: once(func(frame []byte) bool {
		if isDone(frame) {
			cancel() // the wait for the answer
		}
		return isDone(frame)
	}, natstest.Swallow)}
	config := client.DurableConfig{Name: "sender", AckWait: time.Second}
	r := durable(t, newClient(t, proxy.Start(t, s.server.URL())), config)
	if err := r.want(t).Ack(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Ack() = %v, want that the server did not confirm it", err)
	}
	again := r.want(t)
	if again.Attempt != 2 {
		t.Errorf("attempt is %d, want 2", again.Attempt)
	}
	ack(t, again)
}
