package stream //nolint:testpackage // Exports single claims to the tests: a worker tries again before anybody sees that one failed.

import (
	"context"
	"time"
)

// Place is a position in the updates stream.
type Place struct {
	Epoch    int64
	Sequence uint64
	Time     time.Time // when the update at Sequence was stored
	Created  time.Time // when the stream was created
}

func (p Place) position() position {
	return position{epoch: p.Epoch, sequence: p.Sequence, time: p.Time, created: p.Created}
}

func placeOf(p position) Place { return Place{p.epoch, p.sequence, p.time, p.created} }

// Claim has w, which does not run, claim a partition of the first layout once. It returns
// where the partition goes on.
func (w *Worker) Claim(ctx context.Context, partition int) (Place, error) {
	claimed, err := w.claimer.claim(ctx, partitionID{number: partition}, w.instance+"-claim", earlier{})
	return placeOf(claimed.position), err
}

// Resume returns where to go on from p, if updates were read up to reached, and p was
// committed at a moment, zero if just now. It knows of no break that was noticed before.
func (w *Worker) Resume(ctx context.Context, p, reached Place, written time.Time) (Place, error) {
	known := w.claimer.continuity
	fresh := &continuity{js: known.js, updates: known.updates, subjects: known.subjects, log: known.log}
	resumed, err := fresh.resume(ctx, p.position(), reached.position(), written)
	return placeOf(resumed), err
}
