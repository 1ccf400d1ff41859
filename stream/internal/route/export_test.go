package route

import (
	"context"
	"log/slog"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// Part is what one half of a batch is about.
type Part struct {
	Updates    []uint64            // sequences
	Letters    []uint64            // sequences of the updates that they are about
	Recipients map[string][]uint64 // sequences of the states that each receives
}

// Cut cuts a batch of updates behind its first n. Each recipient receives all of them, and
// each is a dead letter as well.
func Cut(taken []presence.UserState, recipients []presence.UserID, n int) (parts [2]Part) {
	b := Batch{states: taken}
	for _, s := range taken {
		u := updates.Update{Sequence: s.Published().Position}
		b.updates, b.letters = append(b.updates, u), append(b.letters, letter{update: u})
	}
	for _, r := range recipients {
		b.recipients = append(b.recipients, routing.Recipient{UserID: r, States: taken})
	}
	for i, part := range b.cut(n) {
		parts[i] = partOf(part)
	}
	return parts
}

// Stored is one update as a reader hands it on.
type Stored struct {
	Subject string
	Data    []byte
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
	r := Caller{
		Dispatcher: dispatcher, Subjects: subjects, MaxBytes: most, RetryLimit: retryLimit,
		Stall: wait.NewStall(slog.New(slog.DiscardHandler), "routing"),
	}
	defer r.Stall.Close()
	taken := make([]updates.Update, len(stored))
	for i, s := range stored {
		taken[i] = updates.Update{Subject: s.Subject, Data: s.Data, Sequence: uint64(i) + 1, Time: time.Unix(0, 0), Epoch: 1}
	}
	parts, err := r.Ask(ctx, r.Decode(ctx, taken))
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
func partOf(b Batch) Part {
	p := Part{Recipients: make(map[string][]uint64)}
	for _, u := range b.updates {
		p.Updates = append(p.Updates, u.Sequence)
	}
	for _, l := range b.letters {
		p.Letters = append(p.Letters, l.update.Sequence)
	}
	for _, r := range b.recipients {
		for _, s := range r.States {
			id := r.UserID.String()
			p.Recipients[id] = append(p.Recipients[id], s.Published().Position)
		}
	}
	return p
}
