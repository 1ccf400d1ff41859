package stream

import (
	"context"
	"errors"
	"time"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/membership"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// serve claims a partition and serves it until take ends, then returns nil, or the
// partition is lost, then returns a *checkpoint.LostError. Another error says why it cannot be
// claimed within limit. It claims the partition anew where the deliveries stream
// went back in time or a commit was interrupted. Each claim is handed to claimed.
func (w *Worker) serve(take, work context.Context, partition deployment.Partition, limit time.Duration, claimed func(membership.Claimed)) error {
	defer w.commits.Forget(partition.Number)
	var known claim.Earlier
	for retry := wait.NewBackOff(); ; wait.Pause(take, retry.NextBackOff()) {
		c, err := w.claim(take, partition, limit, known)
		if err != nil {
			return ignoreEnd(take, err)
		}
		claimed(membership.Claimed{Revision: c.Checkpoint.Revision, Before: c.Before, Again: c.Again})
		known, err = w.serveClaim(take, work, c)
		switch {
		case errors.Is(err, commit.ErrRolledBack):
			w.options.log.Warn("claiming the partition anew", "partition", partition.Number, "reason", err)
		case !errors.Is(err, commit.ErrInterrupted):
			return err
		}
		if known.Checkpoint.Sequence > c.Position.Sequence {
			retry.Reset()
		}
		limit = noLimit
	}
}

// serveClaim serves one claim until take ends, then returns nil, or the partition
// is lost, then returns the reason and what this worker knows of it.
func (w *Worker) serveClaim(take, work context.Context, c claim.Claim) (claim.Earlier, error) {
	defer w.telemetry.claimed(work, c.Partition.Number)()
	take, stopTaking := context.WithCancelCause(take)
	work, stopWork := context.WithCancelCause(work)
	defer stopWork(nil)
	defer w.routing.Forget(c.Partition.Number)
	p := w.commits.Open(work, c, func(reason error) {
		stopWork(reason)
		stopTaking(reason)
	})
	r, read := w.reader(c), make(chan struct{})
	defer w.health.Follow(work, p, r)()
	w.readers.Go(func() {
		defer close(read)
		r.Run(take)
	})
	err := w.line(c, r.Updates(), p).serve(take, work)
	stopTaking(err)
	if err == nil {
		err = p.Drain(work)
	}
	if !p.Lost() {
		return claim.Earlier{}, err
	}
	<-read // The position is the reader's until then.
	lost := context.Cause(work)
	if _, foreign := errors.AsType[*checkpoint.LostError](lost); foreign {
		w.options.log.Warn("partition is lost", "partition", p.ID().Number, "reason", lost)
	}
	return claim.Earlier{Reached: r.Reached(), Checkpoint: p.Known()}, lost
}

func (w *Worker) reader(c claim.Claim) *updates.Reader {
	return updates.New(updates.Config{
		JS: w.js, Subjects: w.subjects, Continuity: w.claimer.Continuity, Partition: c.Partition,
		From: c.Position, Ahead: w.config.Worker.Batch, Stall: w.reading,
	})
}
