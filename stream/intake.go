package stream

import (
	"context"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/updates"
)

// firstBatch is how many updates are routed together before it is known how many
// recipients they have.
const firstBatch = 16

// intake takes the updates of a partition as they arrive, as many at once as are to be
// routed together. It is used by one goroutine.
type intake struct {
	arrived <-chan updates.Update
	half    checkpoint.Position // of the claim: it may be amid an update
	tail    *checkpoint.Tail    // what is stored already
	most    int                 // updates in a batch
	limit   int                 // updates in the next batch
	held    *updates.Update     // taken, but of another epoch or unit than the batch before it
}

func newIntake(arrived <-chan updates.Update, c claim.Claim, most int) *intake {
	return &intake{arrived: arrived, half: c.Position, tail: c.Tail, most: most, limit: min(firstBatch, most)}
}

// take waits for one update and returns it with what else has arrived by then,
// up to the batch limit, within one epoch and one unit of the tail. An update that an
// earlier worker left half done comes alone. It returns nil once ctx ends.
func (i *intake) take(ctx context.Context) []updates.Update {
	batch := i.first(ctx)
	if len(batch) > 0 && i.half.Amid(batch[0].Epoch, batch[0].Sequence) {
		return batch
	}
	for len(batch) > 0 && len(batch) < i.limit {
		select {
		case u := <-i.arrived:
			if u.Epoch != batch[0].Epoch || i.tail.Divides(batch[0].Sequence, u.Sequence) {
				i.held = &u
				return batch
			}
			batch = append(batch, u)
		default:
			return batch
		}
	}
	return batch
}

func (i *intake) first(ctx context.Context) []updates.Update {
	if ctx.Err() != nil {
		return nil
	}
	if i.held != nil {
		u := *i.held
		i.held = nil
		return []updates.Update{u}
	}
	select {
	case u := <-i.arrived:
		return append(make([]updates.Update, 0, min(i.limit, len(i.arrived)+1)), u)
	case <-ctx.Done():
		return nil
	}
}

// adapt chooses the size of the next batch, from how many
// messages the updates of this one made: a whole number of such batches is to fill
// an atomic batch.
func (i *intake) adapt(updates, messages int) {
	if messages == 0 {
		i.limit = i.most
		return
	}
	units := max(1, (batchpublish.MaxMessages*updates+messages*i.most-1)/(messages*i.most))
	i.limit = max(1, min(i.most, (batchpublish.MaxMessages-units)*updates/(messages*units)))
}
