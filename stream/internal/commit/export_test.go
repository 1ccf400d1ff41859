package commit

import (
	"context"
	"log/slog"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/wire"
)

// Draining is a partition of which units are on their way when it is given up.
type Draining struct {
	p      *Partition
	staged chan Unit
}

// NewDraining stages n units.
func NewDraining(ctx context.Context, n int) (Draining, error) {
	staged := make(chan Unit, slotsPerPartition)
	d := Draining{newPartition(claim.Claim{}, staged, func(error) {}), staged}
	for range n {
		if err := d.p.Stage(ctx, Unit{Messages: make([]batchpublish.Message, 1)}); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Drain returns once the partition may be another worker's.
func (d Draining) Drain(ctx context.Context) error { return d.p.Drain(ctx) }

// Commit has one more of the units committed.
func (d Draining) Commit() { new(way).release(<-d.staged) }

// Lose has an ingester receive the units when it has found the partition lost. It returns
// how many partitions the ingester has, and how many units are still on their way.
func (d Draining) Lose(ctx context.Context) (partitions, units int) {
	c := &ingester{lanes: make(map[*Partition]*lane)}
	d.p.lose(ErrInterrupted)
	for len(d.staged) > 0 {
		c.receive(ctx, <-d.staged, true)
	}
	return len(c.lanes), len(d.p.slots)
}

// Renew has a batcher renew what is due when it holds a unit up to the update sequence of
// a partition that it has served long ago. It returns the position to be committed.
func Renew(sequence uint64) uint64 {
	p := newPartition(claim.Claim{}, nil, func(error) {})
	c := &batcher{next: &group{most: maxGroupBytes}, served: map[*Partition]served{p: {upTo: checkpoint.Position{Sequence: sequence - 1}}}}
	c.place(Unit{partition: p, UpTo: checkpoint.Position{Sequence: sequence}})
	c.flushIdle()
	return c.next.upTo(p).Sequence
}

// NoteLetters returns a function that a commit calls with the dead letters in it.
func NoteLetters(log *slog.Logger) func(map[wire.Reason]int64) { return newLetterNotice(log).note }
