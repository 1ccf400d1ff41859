package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// prepare makes sure that the streams are there, and looks whether they are as
// configured.
func (w *Worker) prepare(ctx context.Context) error {
	if err := w.checkPayload(); err != nil {
		return err
	}
	topology, err := topology.New(w.js, w.config.Streams)
	if err != nil {
		return err
	}
	defer w.preparing.Forget(0)
	err = w.persist(ctx, w.config.Worker.StartTimeout, w.preparing, 0, func(ctx context.Context) error {
		if !w.config.Worker.Topology {
			return errors.Join(topology.Verify(ctx), w.fitCommits(ctx))
		}
		made, err := topology.Start(ctx)
		for _, c := range made {
			w.options.log.Info("changed a stream", "stream", c.Stream, "action", string(c.Action),
				"setting", c.Setting, "have", c.Have, "want", c.Want)
		}
		if err != nil {
			return err
		}
		return w.fitCommits(ctx)
	})
	if err != nil {
		return err
	}
	return w.health.Begin(ctx, topology)
}

// fitCommits has commits fit into the deliveries stream as it is, whatever is
// configured.
func (w *Worker) fitCommits(ctx context.Context) error {
	name := w.subjects.DeliveriesStream()
	deliveries, err := w.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	w.commits.Fit(deliveries.CachedInfo().Config.MaxBytes)
	return nil
}

// checkPayload returns an error where the server takes messages that are too
// small for what is configured.
func (w *Worker) checkPayload() error {
	const envelope = 4 << 10 // of a delivery: recipient, epoch and sequences
	need := max(w.config.Streams.Deliveries.MaxDeliveryBytes, w.config.Streams.Updates.MaxUpdateBytes+envelope) + wire.HeaderRoom
	if have := w.nc.MaxPayload(); have < int64(need) {
		return fmt.Errorf("server's max_payload is %d: want at least %d for streams.deliveries.max_delivery_bytes and streams.updates.max_update_bytes", have, need)
	}
	return nil
}

// noLimit is the bound of tries that go on until the context ends.
const noLimit time.Duration = 0

// persist tries until it works out, until ctx ends, or for as long as limit. The
// party is who waits, as stall has it.
func (w *Worker) persist(ctx context.Context, limit time.Duration, waiting *wait.Stall, party int, try func(context.Context) error) error {
	began := time.Now()
	retry := wait.NewBackOff()
	for {
		err := try(ctx)
		if err == nil {
			waiting.EndedFor(party)
			return nil
		}
		if wait.Ended(ctx) {
			return err
		}
		err = w.explain(ctx, err)
		if limit != noLimit {
			if reason := w.giveUp(err, time.Since(began), limit); reason != nil {
				return reason
			}
		}
		waiting.FailedFor(party, err)
		wait.Pause(ctx, retry.NextBackOff())
	}
}

// explain returns err with what is wrong with the servers or the streams before it, if
// err itself leaves that open.
func (w *Worker) explain(ctx context.Context, err error) error {
	err = jsapi.ExplainFull(w.subjects.DeliveriesStream(), err)
	return w.health.ExplainStart(ctx, err)
}

// giveUp returns why a worker that begins is not to try again after err: no retry
// mends it, or the time is over. It returns nil where trying again may help, as it
// does as soon as there is room in a stream that is full.
func (w *Worker) giveUp(err error, spent, limit time.Duration) error {
	denied := w.nc.LastError()
	switch {
	case errors.Is(err, topology.ErrRefused), jsapi.Classify(err).IsFinal():
		return err
	case errors.Is(denied, nats.ErrPermissionViolation):
		return fmt.Errorf("permission denied: %w: %w", err, denied)
	case spent > limit && jsapi.Classify(err) != jsapi.Full:
		return fmt.Errorf("gave up after %s: %w", limit, err)
	}
	return nil
}

// maxClaims bounds how many partitions are claimed at once.
const maxClaims = 16

// claim claims one partition, trying for as long as limit.
func (w *Worker) claim(ctx context.Context, partition deployment.Partition, limit time.Duration, known claim.Earlier) (claim.Claim, error) {
	select {
	case w.claimers <- struct{}{}:
		defer func() { <-w.claimers }()
	case <-ctx.Done():
		return claim.Claim{}, context.Cause(ctx)
	}
	defer w.claiming.Forget(partition.Number)
	var claimed claim.Claim
	err := w.persist(ctx, limit, w.claiming, partition.Number, func(ctx context.Context) (err error) {
		commit := fmt.Sprintf("%s-claim-%d", w.instance, w.claims.Add(1))
		claimed, err = w.claimer.Claim(ctx, partition, commit, known)
		return err
	})
	return claimed, err
}

// connectAgain makes another connection like that of w, but for changes.
func (w *Worker) connectAgain(ctx context.Context, what string, changes ...nats.Option) (nc *nats.Conn, err error) {
	options := w.nc.Opts
	options.Name += " " + what
	for _, change := range changes {
		err = errors.Join(err, change(&options))
	}
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", what, err)
	}
	waiting := wait.NewStall(w.options.log, "connecting to NATS for "+what)
	err = w.persist(ctx, w.config.Worker.StartTimeout, waiting, 0, func(context.Context) error {
		nc, err = options.Connect()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", what, err)
	}
	return nc, nil
}
