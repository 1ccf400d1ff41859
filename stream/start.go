package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// prepare makes sure that the streams are there, and looks whether they are as
// configured.
func (w *Worker) prepare(ctx context.Context) error {
	if err := w.checkPayload(); err != nil {
		return err
	}
	topology, err := NewTopology(w.js, w.config.Streams)
	if err != nil {
		return err
	}
	defer w.preparing.Forget(0)
	err = w.persist(ctx, w.config.Worker.StartTimeout, w.preparing, 0, func(ctx context.Context) error {
		if !w.config.Worker.Topology {
			return errors.Join(topology.Verify(ctx), w.fitCommits(ctx, topology))
		}
		made, err := topology.start(ctx)
		for _, c := range made {
			w.options.log.Info("changed a stream", "stream", c.Stream, "action", string(c.Action),
				"setting", c.Setting, "have", c.Have, "want", c.Want)
		}
		if err != nil {
			return err
		}
		return w.fitCommits(ctx, topology)
	})
	if err != nil {
		return err
	}
	w.streams = &topologyWatch{topology: topology, log: w.options.log, telemetry: w.telemetry}
	w.streams.look(ctx)
	w.care.Store(newCare(w, topology))
	return nil
}

// fitCommits has commits fit into the deliveries stream as it is, whatever is
// configured.
func (w *Worker) fitCommits(ctx context.Context, topology *Topology) error {
	deliveries, err := topology.existing(ctx, w.subjects.DeliveriesStream())
	if err != nil || deliveries == nil {
		return err
	}
	w.committer.groupBytes = groupBytes(deliveries.Config.MaxBytes)
	return nil
}

// checkPayload returns an error where the server takes messages that are too
// small for what is configured.
func (w *Worker) checkPayload() error {
	const envelope = 4 << 10 // of a delivery: recipient, epoch and sequences
	need := max(w.config.Streams.Deliveries.MaxDeliveryBytes, w.config.Streams.Updates.MaxUpdateBytes+envelope) + headerRoom
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
		if ended(ctx) {
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
	err = explainFull(w.subjects, err)
	if c := w.care.Load(); c != nil {
		return c.explain(err)
	}
	var opts []DiagnosisOption
	if !w.config.Streams.State.Enabled {
		opts = append(opts, WithoutStates())
	}
	return Explain(ctx, w.nc, w.config.Streams.Prefix, err, opts...)
}

// giveUp returns why a worker that begins is not to try again after err: no retry
// mends it, or the time is over. It returns nil where trying again may help, as it
// does as soon as there is room in a stream that is full.
func (w *Worker) giveUp(err error, spent, limit time.Duration) error {
	denied := w.nc.LastError()
	switch {
	case errors.Is(err, ErrRefused), final(err), permanent(err):
		return err
	case errors.Is(denied, nats.ErrPermissionViolation):
		return fmt.Errorf("permission denied: %w: %w", err, denied)
	case spent > limit && !full(err):
		return fmt.Errorf("gave up after %s: %w", limit, err)
	}
	return nil
}

// full reports whether the server stored nothing because a stream has reached its
// limit.
func full(err error) bool {
	const storeFailed = 10077
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == storeFailed
}

// final reports whether the server's answer stays the same however often it is
// asked: the request itself is at fault.
func final(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	const clientErrors, notFound, tooMany = 400, 404, 429
	return !refused(err) && api.Code == clientErrors && api.Code != notFound && api.Code != tooMany
}

// maxClaims bounds how many partitions are claimed at once.
const maxClaims = 16

// claim claims one partition, trying for as long as limit.
func (w *Worker) claim(ctx context.Context, partition partitionID, limit time.Duration, known earlier) (claim, error) {
	select {
	case w.claimers <- struct{}{}:
		defer func() { <-w.claimers }()
	case <-ctx.Done():
		return claim{}, context.Cause(ctx)
	}
	defer w.claiming.Forget(partition.number)
	var claimed claim
	err := w.persist(ctx, limit, w.claiming, partition.number, func(ctx context.Context) (err error) {
		commit := fmt.Sprintf("%s-claim-%d", w.instance, w.claims.Add(1))
		claimed, err = w.claimer.claim(ctx, partition, commit, known)
		return err
	})
	return claimed, err
}
