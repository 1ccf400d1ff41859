package stream //nolint:testpackage // Exports the way from updates to messages to the tests.

import (
	"context"
	"log/slog"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/route"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// Stored is one update as a reader hands it on.
type Stored struct {
	Subject string
	Data    []byte
}

// RoutingPath returns a function that takes a batch of updates from bytes to encoded
// messages and returns how many those are.
func RoutingPath(dispatcher *routing.Dispatcher, subjects wire.Subjects, stored []Stored) func(context.Context) (int, error) {
	const maxPayload, maxBytes = 1 << 20, 4 << 20
	config := topology.DefaultConfig()
	taken := make([]updates.Update, len(stored))
	for i, s := range stored {
		taken[i] = updates.Update{Subject: s.Subject, Data: s.Data, Sequence: uint64(i) + 1, Time: time.Unix(0, 0), Epoch: 1}
	}
	r := route.Caller{
		Dispatcher: dispatcher, Subjects: subjects, MaxBytes: config.Updates.MaxUpdateBytes,
		Stall: wait.NewStall(slog.New(slog.DiscardHandler), "routing"),
	}
	e := route.Encoder{
		Subjects: subjects, IsLocal: func(presence.ServerName) bool { return true }, Shards: config.Deliveries.Shards,
		MaxDelivery: config.Deliveries.MaxDeliveryBytes,
		MaxPayload:  maxPayload, MaxBytes: maxBytes,
	}
	return func(ctx context.Context) (int, error) {
		parts, err := r.Ask(ctx, r.Decode(ctx, taken))
		messages := 0
		for _, part := range parts {
			for u := range e.Units(part) {
				messages += len(u.Messages)
			}
		}
		return messages, err
	}
}
