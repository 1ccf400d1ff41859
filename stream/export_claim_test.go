package stream //nolint:testpackage // Exports single claims to the tests: a worker tries again before anybody sees that one failed.

import (
	"context"
	"time"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// Place is a position in the updates stream.
type Place struct {
	Epoch    int64
	Sequence uint64
	Time     time.Time // when the update at Sequence was stored
	Created  time.Time // when the stream was created
}

func (p Place) position() checkpoint.Position {
	return checkpoint.Position{Epoch: p.Epoch, Sequence: p.Sequence, Time: p.Time, Created: p.Created}
}

func placeOf(p checkpoint.Position) Place { return Place{p.Epoch, p.Sequence, p.Time, p.Created} }

// Claim has w, which does not run, claim a partition of the first layout once. It returns
// where the partition goes on.
func (w *Worker) Claim(ctx context.Context, partition int) (Place, error) {
	claimed, err := w.claimer.Claim(ctx, deployment.Partition{Number: partition}, w.instance+"-claim", claim.Earlier{})
	return placeOf(claimed.Position), err
}

// Resume returns where to go on from p, if updates were read up to reached, and p was
// committed at a moment, zero if just now. It knows of no break that was noticed before.
func (w *Worker) Resume(ctx context.Context, p, reached Place, written time.Time) (Place, error) {
	resumed, err := checkpoint.NewContinuity(w.js, w.subjects, w.options.log).Resume(ctx, p.position(), reached.position(), written)
	return placeOf(resumed), err
}
