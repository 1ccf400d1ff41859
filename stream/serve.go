package stream

import (
	"context"
	"errors"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// serve claims a partition and serves it until take ends, then returns nil, or the
// partition is lost, then returns a *lostError. Another error says why it cannot be
// claimed within limit. It claims the partition anew where the deliveries stream
// went back in time or a commit was interrupted. Each claim is handed to claimed.
func (w *Worker) serve(take, work context.Context, partition partitionID, limit time.Duration, claimed func(claim)) error {
	defer w.ingester.stall.Forget(partition.number)
	var known earlier
	for retry := wait.NewBackOff(); ; wait.Pause(take, retry.NextBackOff()) {
		c, err := w.claim(take, partition, limit, known)
		if err != nil {
			return ignoreEnd(take, err)
		}
		claimed(c)
		known, err = w.serveClaim(take, work, c)
		switch {
		case errors.Is(err, errRolledBack):
			w.options.log.Warn("claiming the partition anew", "partition", partition.number, "reason", err)
		case !errors.Is(err, errInterrupted):
			return err
		}
		if known.checkpoint.Sequence > c.position.sequence {
			retry.Reset()
		}
		limit = noLimit
	}
}

// serveClaim serves one claim until take ends, then returns nil, or the partition
// is lost, then returns the reason and what this worker knows of it.
func (w *Worker) serveClaim(take, work context.Context, c claim) (earlier, error) {
	defer w.telemetry.claimed(work, c.partition.number)()
	take, stopTaking := context.WithCancelCause(take)
	work, stopWork := context.WithCancelCause(work)
	defer stopWork(nil)
	p := newPartition(c, w.config.Worker.Batch, func(reason error) {
		stopWork(reason)
		stopTaking(reason)
	})
	r, read := w.reader(c), make(chan struct{})
	p.inHand.consumer = &r.name
	defer w.progress.follow(p)()
	w.readers.Go(func() {
		defer close(read)
		r.run(take)
	})
	way := w.pipeline(c)
	err := w.follow(take, work, p, way, r.updates)
	stopTaking(err)
	if err == nil {
		err = p.drain(work, way.staged)
	}
	if !p.lost.Load() {
		return earlier{}, err
	}
	<-read // The position is the reader's until then.
	lost := context.Cause(work)
	if _, foreign := errors.AsType[*lostError](lost); foreign {
		w.options.log.Warn("partition is lost", "partition", p.id.number, "reason", lost)
	}
	return earlier{reached: r.position, checkpoint: p.newest}, lost
}

func (w *Worker) reader(c claim) *reader {
	return &reader{
		nc: w.nc, js: w.js, subjects: w.subjects, continuity: w.claimer.continuity, partition: c.partition,
		position: c.position, compared: true, updates: make(chan update, w.config.Worker.Batch), stall: w.reading,
	}
}

// follow takes updates as they arrive and brings them to the committer, until
// take ends.
func (w *Worker) follow(take, work context.Context, p *partition, way *pipeline, arrived <-chan update) error {
	defer w.routing.Forget(p.id.number)
	if err := p.stage(work, unit{upTo: way.half}, way.staged); err != nil { // makes the partition known to the committer
		return err
	}
	for {
		if err := p.reserve(work); err != nil {
			return err
		}
		updates := p.take(take, arrived)
		if len(updates) == 0 {
			return nil
		}
		p.inHand.took(len(updates))
		if err := way.carry(work, p, updates); err != nil {
			return err
		}
	}
}
