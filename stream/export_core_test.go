package stream //nolint:testpackage // Exports decisions that no test can bring about in time.

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/wire"
)

// CarryOn has w carry updates that arrive together, the first of which an earlier worker has done up
// to the recipient after, in an epoch; those given are of epoch 0. It returns the
// deliveries.
func (w *Worker) CarryOn(ctx context.Context, messages []jetstream.Msg, after presence.UserID, epoch int64) ([]wire.ReceivedDelivery, error) {
	var taken []updates.Update
	for _, m := range messages {
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		taken = append(taken, updates.Update{Subject: m.Subject(), Data: m.Data(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp})
	}
	claimed := claim.Claim{Position: taken[0].Done()}
	claimed.Position.After, claimed.Position.Epoch = after, epoch
	arrived := make(chan updates.Update, len(taken))
	for _, u := range taken {
		arrived <- u
	}
	l := w.line(claimed, arrived, nil)
	var found []wire.ReceivedDelivery
	for len(arrived) > 0 {
		parts, err := l.caller.Ask(ctx, l.caller.Decode(ctx, l.intake.take(context.WithoutCancel(ctx))))
		if err != nil {
			return found, err
		}
		for _, part := range parts {
			for u := range l.encoder.Units(part) {
				for _, m := range u.Messages {
					d, err := wire.DecodeDelivery(m.Data)
					if err != nil {
						return nil, err
					}
					found = append(found, d)
				}
			}
		}
	}
	return found, nil
}

// OnPause has pauses of a claim go to pause.
func (w *Worker) OnPause(pause func(time.Duration)) {
	w.claimer.Pause = func(_ context.Context, d time.Duration) { pause(d) }
}
