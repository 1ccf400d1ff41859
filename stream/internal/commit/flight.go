package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// flight is a unit on its way to the server.
type flight struct {
	lane  *lane
	unit  Unit
	batch string          // and the commit of the checkpoint that begins it
	next  wire.Checkpoint // that ends it
	size  int             // messages, checkpoints included
	began time.Time
	links uint64 // how often the connection had been made again
	cause error  // why the server took no more

	looks  bool                  // its outcome is looked up
	stored int                   // messages that the server says it stored, -1 where it says nothing
	newest checkpoint.Checkpoint // that was found then
}

var (
	// ErrInterrupted is why a partition is claimed anew: part of a unit may be stored.
	ErrInterrupted = errors.New("a commit was interrupted")
	errNoAnswer    = errors.New("no answer within worker.commit_timeout")
)

// hear takes an answer of the server over.
func (c *ingester) hear(ctx context.Context, m *nats.Msg) {
	f := c.flights[batchpublish.BatchOf(c.inbox, m.Subject)]
	if f == nil || f.looks {
		return
	}
	answer, err := batchpublish.DecodeAnswer(m)
	switch {
	case err != nil && batchpublish.IsFirst(m.Subject): // The batch was not begun.
		f.stored = 0
		c.lookUp(ctx, f, err)
	case jsapi.Classify(err) == jsapi.UnknownBatch: // Another worker has ended it.
		c.lookUp(ctx, f, err)
	case err != nil:
		f.cause = err // How much is stored follows.
	case answer.Batch == "":
	case answer.Count < f.size:
		f.stored = answer.Count
		c.lookUp(ctx, f, cmp.Or(f.cause, batchpublish.ErrGap))
	default:
		c.landed(ctx, f, answer.Sequence, answer.Sequence)
	}
}

func (c *ingester) expire(ctx context.Context, now time.Time) {
	for _, f := range c.flights {
		if !f.looks && now.Sub(f.began) > c.CommitTimeout {
			c.lookUp(ctx, f, cmp.Or(f.cause, errNoAnswer))
		}
	}
}

// landed notes that the server stored f whole, its checkpoint at sequence. The newest
// message on the subject of checkpoints is at revision.
func (c *ingester) landed(ctx context.Context, f *flight, sequence, revision uint64) {
	l := f.lane
	if f.cause != nil && !f.looks {
		c.Log.Error("the server refused a message and stored what follows it, see decision 0020: something is not delivered",
			"partition", l.partition.id.Number, "batch", f.batch, "error", f.cause)
	}
	c.end(f)
	c.stall.EndedFor(l.partition.id.Number)
	l.retry.Reset()
	l.contested = false
	l.partition.committed(checkpoint.Checkpoint{Checkpoint: f.next, At: sequence, Revision: revision})
	c.telemetry.committed(ctx, time.Since(f.began), len(f.unit.Messages)+1)
	c.done(ctx, f.unit)
	c.release(f.unit)
	switch {
	case f.unit.final:
		delete(c.lanes, l.partition)
	case len(l.waiting) > 0:
		c.ready = append(c.ready, l)
	}
}

func (c *ingester) end(f *flight) {
	f.lane.flight = nil
	delete(c.flights, f.batch)
	c.inFlight -= f.size
	c.bytes -= f.unit.Bytes
}

// lookUp finds out what became of f, in the background. While messages that no worker
// wrote keep coming in place of the checkpoint, the pause is before the look, so that
// what it finds is new when the rest is sent.
func (c *ingester) lookUp(ctx context.Context, f *flight, cause error) {
	f.cause, f.looks = cause, true
	partition, pause := f.lane.partition.id, time.Duration(0)
	if f.lane.contested {
		pause = f.lane.retry.NextBackOff()
	}
	c.looking.Go(func() {
		wait.Pause(ctx, pause)
		for retry := wait.NewBackOff(); !wait.Ended(ctx); wait.Pause(ctx, retry.NextBackOff()) {
			newest, err := c.Checkpoints.Read(ctx, partition)
			if err == nil {
				f.newest = newest
				c.found <- f // There is a place for every partition.
				return
			}
			c.stall.FailedFor(partition.Number, err)
		}
	})
}

// settle decides what the newest checkpoint means for f.
func (c *ingester) settle(ctx context.Context, f *flight) {
	p, n := f.lane.partition, f.newest
	switch n.Commit {
	case f.next.Commit:
		c.landed(ctx, f, n.At, n.Revision)
		return
	case f.batch, p.newest.Commit: // It is begun, or not.
		if planted.Mistake == planted.OutcomeAssumed && n.Commit == f.batch {
			c.landed(ctx, f, n.At, n.Revision)
			return
		}
		c.stall.FailedFor(p.id.Number, jsapi.ExplainFull(c.Subjects.DeliveriesStream(), f.cause))
		if f.stored >= 0 && jsapi.Classify(f.cause) != jsapi.FastDisabled && f.links == c.nc.Stats().Reconnects {
			c.rest(f)
		} else {
			c.interrupt(f)
		}
	case "":
		c.purged(p)
		c.interrupt(f)
	default:
		reason := c.loses(p, n)
		if !errors.Is(reason, ErrRolledBack) {
			c.telemetry.fenced(ctx, p.id.Number)
		}
		c.stall.Forget(p.id.Number)
		c.lose(f, reason)
	}
}

// rest has what the server did not take of f sent after a pause, or at once if what is
// in its way is a message that no worker wrote. On the same
// connection, what it did not take cannot come after what is sent then.
func (c *ingester) rest(f *flight) {
	l := f.lane
	c.end(f)
	l.partition.newest = f.newest
	f.unit.stored += max(0, f.stored-1)
	if planted.Mistake == planted.RestTooShort && f.unit.stored > 0 {
		f.unit.stored = min(f.unit.stored+1, len(f.unit.Messages))
	}
	l.waiting = slices.Insert(l.waiting, 0, f.unit)
	if f.newest.Foreign != nil {
		l.contested = true
		c.ready = append(c.ready, l)
		return
	}
	l.rests = true
	time.AfterFunc(l.retry.NextBackOff(), func() { c.rested <- l }) // There is a place for every lane.
}

// interrupt has the partition claimed anew, which finds out how much of f is stored,
// also where the checkpoint is gone by then.
func (c *ingester) interrupt(f *flight) {
	p := f.lane.partition
	p.newest = p.newest.Open(f.batch, f.unit.UpTo)
	c.lose(f, fmt.Errorf("%w: %w", ErrInterrupted, f.cause))
}

// lose ends the work on a partition.
func (c *ingester) lose(f *flight, reason error) {
	l := f.lane
	c.end(f)
	l.partition.lose(reason)
	delete(c.lanes, l.partition)
	for _, u := range append(l.waiting, f.unit) {
		c.release(u)
	}
}
