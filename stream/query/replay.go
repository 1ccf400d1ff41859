package query

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxReplayPending is how many deliveries of one query wait for the server's
// acknowledgement.
const maxReplayPending = 64

// replayer publishes deliveries of states that were routed before. They go around
// the committer: no checkpoint covers them, no partition is waited for, and each is
// stored by itself. Readers tell them by their header, and their order by epoch and
// sequence, which are those of the states.
type replayer struct {
	js          jetstream.JetStream
	subjects    wire.Subjects
	isLocal     func(presence.ServerName) bool
	shards      int
	maxDelivery int // bytes; a larger delivery is split
	maxPayload  int // bytes of data that the server takes in one message
	telemetry   *telemetry
}

// replay is the deliveries of one query. It is used by one goroutine.
type replay struct {
	replayer
	sent    map[presence.UserID]int // states, by recipient
	pending []jetstream.PubAckFuture
}

func (r replayer) begin() *replay {
	return &replay{replayer: r, sent: make(map[presence.UserID]int)}
}

// send publishes the states for recipient, one delivery for each epoch.
func (r *replay) send(ctx context.Context, recipient presence.UserID, states []wire.PlacedState) error {
	r.sent[recipient] += len(states)
	slices.SortStableFunc(states, func(a, b wire.PlacedState) int { return cmp.Compare(a.Epoch, b.Epoch) })
	for len(states) > 0 {
		d := wire.Delivery{Recipient: recipient, Epoch: states[0].Epoch}
		for len(states) > 0 && states[0].Epoch == d.Epoch {
			d.States = append(d.States, states[0].State)
			states = states[1:]
		}
		if err := r.publish(ctx, d); err != nil {
			return fmt.Errorf("deliver to %s: %w", recipient, err)
		}
	}
	return nil
}

func (r *replay) publish(ctx context.Context, d wire.Delivery) error {
	subject := r.subjects.DeliveryTo(d.Recipient, r.isLocal(d.Recipient.Server()), r.shards)
	for part := range d.Split(r.maxDelivery) {
		data := wire.AppendDelivery(nil, part)
		if len(data) > r.maxPayload {
			return fmt.Errorf("%w: %d bytes, the server takes at most %d", nats.ErrMaxPayload, len(data), r.maxPayload)
		}
		if err := r.await(ctx, maxReplayPending-1); err != nil {
			return err
		}
		message := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{wire.ReplayHeader: {"1"}}}
		future, err := r.js.PublishMsgAsync(message, jetstream.WithExpectStream(r.subjects.DeliveriesStream()))
		if err != nil {
			return err
		}
		r.pending = append(r.pending, future)
	}
	return nil
}

// finish returns when everything is stored, or an error.
func (r *replay) finish(ctx context.Context) error { return r.await(ctx, 0) }

// await waits until at most most deliveries are not acknowledged.
func (r *replay) await(ctx context.Context, most int) error {
	for len(r.pending) > most {
		select {
		case <-r.pending[0].Ok():
			r.telemetry.replayed.Add(ctx, 1)
		case err := <-r.pending[0].Err():
			return fmt.Errorf("store a delivery: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.pending = r.pending[1:]
	}
	return nil
}
