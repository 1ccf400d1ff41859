package stream

import (
	"context"

	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/commit"
	"github.com/presence-router/presence-router/stream/internal/route"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/wire"
)

// line is what the updates of one claimed partition go through.
type line struct {
	intake    *intake
	caller    *route.Caller
	encoder   *route.Encoder
	partition *commit.Partition
}

func (w *Worker) line(c claim.Claim, arrived <-chan updates.Update, p *commit.Partition) *line {
	streams := w.config.Streams
	return &line{
		intake: newIntake(arrived, c, w.config.Worker.Batch),
		caller: &route.Caller{
			Dispatcher: w.dispatcher, Subjects: w.subjects, Partition: c.Partition.Number, Stall: w.routing, Tracer: w.options.tracer,
			MaxBytes: streams.Updates.MaxUpdateBytes, RetryLimit: w.config.Worker.RetryLimit,
		},
		encoder: &route.Encoder{
			Subjects: w.subjects, IsLocal: w.isLocal, Tracer: w.options.tracer,
			Shards: streams.Deliveries.Shards, Coalesce: w.config.Worker.Coalesce, Half: c.Position, Tail: c.Tail,
			MaxDelivery: streams.Deliveries.MaxDeliveryBytes, MaxPayload: int(w.nc.MaxPayload()) - wire.HeaderRoom, MaxBytes: w.commits.UnitBytes(),
		},
		partition: p,
	}
}

// serve takes the updates of the partition from bytes to the commit, until take ends.
// What has been taken by then is still staged, unless work ends as well: then it returns
// the reason.
func (l *line) serve(take, work context.Context) error {
	if err := l.partition.Begin(work); err != nil {
		return err
	}
	for {
		if err := l.partition.Reserve(work); err != nil { // The slot comes first: what arrives meanwhile is routed together.
			return err
		}
		taken := l.intake.take(take) // bytes in
		if len(taken) == 0 {
			return nil
		}
		l.partition.Took(len(taken))
		batch := l.caller.Decode(work, taken)   // decode; what does not decode becomes a dead letter
		parts, err := l.caller.Ask(work, batch) // route, merge; a batch that a router fails on is halved
		if err != nil {
			return err
		}
		messages := 0
		for _, part := range parts {
			for unit := range l.encoder.Units(part) { // encode, less what an earlier worker has stored
				messages += len(unit.Messages)
				if err := l.partition.Stage(work, unit); err != nil { // commit
					return err
				}
			}
		}
		l.intake.adapt(len(taken), messages)
	}
}
