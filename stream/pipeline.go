package stream

import (
	"context"
	"slices"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// pipeline brings the updates of one partition from bytes to the committer.
type pipeline struct {
	router  router
	encoder encoder
	staged  chan<- unit
	most    int      // updates in a batch
	half    position // where after is set, the update that an earlier worker committed up to a recipient
}

func (w *Worker) pipeline(c claim) *pipeline {
	tracing := traces{tracer: w.options.tracer}
	isLocal := func(server presence.ServerName) bool { return w.local[server] }
	staged := w.committer.staged
	if c.fast {
		staged = w.ingester.staged
	}
	return &pipeline{
		router: router{
			dispatcher: w.dispatcher, subjects: w.subjects,
			maxBytes: w.config.Streams.Updates.MaxUpdateBytes, retryLimit: w.config.Worker.RetryLimit,
			partition: c.partition.number, stall: w.routing,
		},
		encoder: encoder{
			subjects: w.subjects, isLocal: isLocal, config: w.config.Streams.Deliveries,
			tail: c.tail, coalesce: w.config.Worker.Coalesce, maxPayload: int(w.nc.MaxPayload()) - headerRoom,
			maxBytes: min(maxUnitBytes, w.committer.groupBytes), traces: tracing,
		},
		staged: staged,
		most:   w.config.Worker.Batch,
		half:   c.position,
	}
}

// carry decodes, routes and encodes updates and hands them to the committer. The
// error is the reason why ctx ended.
func (w *pipeline) carry(ctx context.Context, p *partition, updates []update) error {
	if w.resumes(updates[0]) && len(updates) > 1 {
		if err := w.carry(ctx, p, updates[:1]); err != nil {
			return err
		}
		updates = updates[1:]
	}
	b := w.router.decode(p.id.number, updates)
	b.traces = w.encoder.traces.route(ctx, updates)
	parts, err := w.router.route(ctx, b)
	if err != nil {
		return err
	}
	messages := 0
	for _, part := range parts {
		if w.resumes(updates[0]) {
			part.recipients = behind(part.recipients, w.half.after)
		}
		for u := range w.encoder.units(part) {
			messages += len(u.messages)
			if err := p.stage(ctx, u, w.staged); err != nil {
				return err
			}
		}
	}
	p.adapt(len(updates), messages, w.most)
	return nil
}

// resumes reports whether u is the update that an earlier worker left half done.
func (w *pipeline) resumes(u update) bool {
	return !w.half.after.IsZero() && w.half.sequence == u.sequence && w.half.epoch == u.epoch
}

// behind returns the recipients after the given one; they are in order.
func behind(recipients []routing.Recipient, after presence.UserID) []routing.Recipient {
	from, found := slices.BinarySearchFunc(recipients, after, func(r routing.Recipient, id presence.UserID) int {
		return r.UserID.Compare(id)
	})
	if found {
		from++
	}
	return recipients[from:]
}
