package stream //nolint:testpackage // Exports the way from updates to messages to the tests.

import (
	"context"
	"log/slog"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/wait"
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
	config := DefaultStreamsConfig()
	updates := make([]update, len(stored))
	for i, s := range stored {
		updates[i] = update{subject: s.Subject, data: s.Data, sequence: uint64(i) + 1, time: time.Unix(0, 0), epoch: 1}
	}
	r := router{
		dispatcher: dispatcher, subjects: subjects, maxBytes: config.Updates.MaxUpdateBytes,
		stall: wait.NewStall(slog.New(slog.DiscardHandler), "routing"),
	}
	e := encoder{
		subjects: subjects, isLocal: func(presence.ServerName) bool { return true }, config: config.Deliveries,
		maxPayload: maxPayload, maxBytes: maxBytes,
	}
	return func(ctx context.Context) (int, error) {
		parts, err := r.route(ctx, r.decode(0, updates))
		messages := 0
		for _, part := range parts {
			for u := range e.units(part) {
				messages += len(u.messages)
			}
		}
		return messages, err
	}
}

// RoutedPart is a part of a batch with what routers made of it.
type RoutedPart struct {
	Part

	Routers []string // that the dead letters name, "" where it is no router's doing
}

// Route takes a batch of updates through the routers, and through what a failure of
// theirs costs. The first update has sequence 1. Routers whose policy is retry are asked
// again for as long as retryLimit.
func Route(ctx context.Context, dispatcher *routing.Dispatcher, subjects wire.Subjects, stored []Stored, retryLimit time.Duration) ([]RoutedPart, error) {
	const most = 1 << 20
	r := router{
		dispatcher: dispatcher, subjects: subjects, maxBytes: most, retryLimit: retryLimit,
		stall: wait.NewStall(slog.New(slog.DiscardHandler), "routing"),
	}
	defer r.stall.Close()
	updates := make([]update, len(stored))
	for i, s := range stored {
		updates[i] = update{subject: s.Subject, data: s.Data, sequence: uint64(i) + 1, time: time.Unix(0, 0), epoch: 1}
	}
	parts, err := r.route(ctx, r.decode(0, updates))
	routed := make([]RoutedPart, len(parts))
	for i, b := range parts {
		routed[i].Part = partOf(b)
		for _, l := range b.letters {
			routed[i].Routers = append(routed[i].Routers, l.router)
		}
	}
	return routed, err
}

// partOf returns what a batch is about.
func partOf(b batch) Part {
	p := Part{Recipients: make(map[string][]uint64)}
	for _, u := range b.updates {
		p.Updates = append(p.Updates, u.sequence)
	}
	for _, l := range b.letters {
		p.Letters = append(p.Letters, l.update.sequence)
	}
	for _, r := range b.recipients {
		for _, s := range r.States {
			id := r.UserID.String()
			p.Recipients[id] = append(p.Recipients[id], s.Published().Position)
		}
	}
	return p
}
