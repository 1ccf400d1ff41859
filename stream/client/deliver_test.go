package client_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

const shards = 16

// shown is a state as the tests write it.
type shown struct {
	user     string
	sequence uint64
	state    presence.State
}

// online is a state of user from the update of that sequence.
func online(user string, sequence uint64) shown { return shown{user, sequence, presence.Online} }

// deliver stores one delivery as a worker does, and returns its sequence.
func (s *site) deliver(t *testing.T, recipient string, epoch int64, states ...shown) uint64 {
	t.Helper()
	d := wire.Delivery{Recipient: presence.MustUserID(recipient), Epoch: epoch}
	for _, state := range states {
		update := fmt.Appendf(nil, `{"user_id":%q, "state":%q}`, state.user, state.state)
		decoded, err := wire.DecodeUpdate(update, state.sequence, len(update))
		if err != nil {
			t.Fatal(err)
		}
		d.States = append(d.States, decoded)
	}
	scope := wire.Local
	if d.Recipient.Server().String() != "example.com" {
		scope = wire.Remote
	}
	subject := s.subjects.Delivery(scope, wire.Shard(scope, d.Recipient, shards), d.Recipient)
	return s.store(t, subject, string(wire.AppendDelivery(nil, d)))
}

func (s *site) store(t *testing.T, subject, data string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	ack, err := s.js.Publish(ctx, subject, []byte(data))
	if err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
	return ack.Sequence
}

// reader hands out what an iteration yields, one at a time.
type reader[T any] struct {
	next func() (T, error, bool)
}

// read begins an iteration that ends with the test, at the latest after the bound.
func read[T any](t *testing.T, over func(context.Context) iter.Seq2[T, error]) reader[T] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*bound)
	next, stop := iter.Pull2(over(ctx))
	t.Cleanup(func() {
		stop()
		cancel()
	})
	return reader[T]{next}
}

// want reads one.
func (r reader[T]) want(t *testing.T) T {
	t.Helper()
	got, err, ok := r.next()
	if err != nil || !ok {
		t.Fatalf("read is %v, %v, %v, want one without an error", got, err, ok)
	}
	return got
}

// sequencesOf reads n deliveries and returns their first sequences.
func sequencesOf(t *testing.T, r reader[client.Delivery], n int) []uint64 {
	t.Helper()
	var got []uint64
	for range n {
		got = append(got, r.want(t).Sequences[0])
	}
	return got
}

func deliveries(t *testing.T, c *client.Client, selection client.Selection, after client.Position) reader[client.Delivery] {
	t.Helper()
	return read(t, func(ctx context.Context) iter.Seq2[client.Delivery, error] {
		return c.Deliveries(ctx, selection, after)
	})
}

func end(t *testing.T, c *client.Client) client.Position {
	t.Helper()
	position, err := c.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return position
}

func wantSequences(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: read are deliveries of updates %v, want %v", what, got, want)
	}
}
