package stream

import (
	"context"
	"errors"
	"time"
)

// serve claims a partition and serves it until take ends, then returns nil, or the
// partition is lost, then returns a *lostError. Another error says why it cannot be
// claimed within limit. It claims the partition anew where the deliveries stream
// went back in time. Each claim is handed to claimed.
func (w *Worker) serve(take, work context.Context, partition partitionID, limit time.Duration, claimed func(claim)) error {
	var reached position
	for {
		c, err := w.claim(take, partition, limit, reached)
		if err != nil {
			return ignoreEnd(take, err)
		}
		claimed(c)
		if reached, err = w.serveClaim(take, work, c); !errors.Is(err, errRolledBack) {
			return err
		}
		w.options.log.Warn("claiming the partition anew", "partition", partition.number, "reason", err)
		limit = noLimit
	}
}

// serveClaim serves one claim until take ends, then returns nil, or the partition
// is lost, then returns the reason and up to where it has read.
func (w *Worker) serveClaim(take, work context.Context, c claim) (position, error) {
	w.telemetry.owned.Add(work, 1)
	defer w.telemetry.owned.Add(context.WithoutCancel(work), -1)
	take, stopTaking := context.WithCancelCause(take)
	work, stopWork := context.WithCancelCause(work)
	defer stopWork(nil)
	p := newPartition(c, w.config.Worker.Batch, func(reason error) {
		stopWork(reason)
		stopTaking(reason)
	})
	defer w.progress.follow(p)()
	r, read := w.reader(c), make(chan struct{})
	w.readers.Go(func() {
		defer close(read)
		r.run(take)
	})
	err := w.follow(take, work, p, w.pipeline(c), r.updates)
	stopTaking(err)
	if err == nil {
		err = p.drain(work, w.committer.staged)
	}
	if !p.lost.Load() {
		return position{}, err
	}
	<-read // The position is the reader's until then.
	lost := context.Cause(work)
	if !errors.Is(lost, errRolledBack) {
		w.options.log.Warn("partition is lost", "partition", p.id.number, "reason", lost)
	}
	return r.position, lost
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
	defer w.routing.forget(p.id.number)
	if err := p.stage(work, unit{upTo: way.half}, way.staged); err != nil { // makes the partition known to the committer
		return err
	}
	for {
		updates := p.take(take, arrived)
		if len(updates) == 0 {
			return nil
		}
		p.inHand.took(len(updates))
		w.telemetry.took(work, p.id.number, updates[len(updates)-1].pending)
		if err := way.carry(work, p, updates); err != nil {
			return err
		}
	}
}
