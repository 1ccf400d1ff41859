package claim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/wire"
)

// Claim is a partition that this worker has taken over: its checkpoint is
// rewritten under the worker's name, so that whoever had it is fenced.
type Claim struct {
	Partition  deployment.Partition
	Position   checkpoint.Position
	Checkpoint checkpoint.Checkpoint // the newest one, this worker's own
	Tail       *checkpoint.Tail
	Fast       bool   // whether units are committed by fast ingest
	Before     string // worker that had the partition before, "" where it had no checkpoint
	Again      bool   // this worker had it all along
}

// Earlier is what a worker knows from an earlier claim of a partition; the zero
// value is nothing.
type Earlier struct {
	Reached    checkpoint.Position   // up to where it has read
	Checkpoint checkpoint.Checkpoint // the newest one it knows to be its own
}

// Claimer takes partitions over.
type Claimer struct {
	JS          jetstream.JetStream
	Subjects    wire.Subjects
	Checkpoints checkpoint.Store
	Continuity  *checkpoint.Continuity
	Worker      string
	Newest      bool                                 // partitions without a checkpoint begin behind the newest update, not with the oldest
	FastIngest  bool                                 // where the deliveries stream allows it
	Pause       func(context.Context, time.Duration) // as wait.Pause does
}

// Claim takes a partition over. It tries once; a refusal means that somebody
// else wrote a checkpoint in between, and claiming again is safe. A batch that the
// one before was storing is ended, and what is stored of it is the claim's tail.
func (c *Claimer) Claim(ctx context.Context, partition deployment.Partition, commit string, known Earlier) (Claim, error) {
	found, err := c.find(ctx, partition, known)
	if err != nil {
		return Claim{}, err
	}
	claimed := Claim{Partition: partition, Before: found.Worker, Again: known != Earlier{} && found.Worker == c.Worker}
	if claimed.Position, err = c.position(ctx, found); err != nil {
		return Claim{}, err
	}
	if claimed.Position.Epoch, err = c.epoch(ctx, claimed.Position, known.Reached); err != nil {
		return Claim{}, err
	}
	replicated, err := c.chooseWay(ctx, &claimed)
	if err != nil {
		return Claim{}, err
	}
	next := claimed.Position.Checkpoint(c.Worker, commit)
	next.Batch, next.Tail = found.Batch, found.Behind()
	if next.Epoch != found.Epoch { // The updates that the tail is about are gone.
		next.Tail.Sequence, next.Tail.Time = 0, time.Time{}
	}
	if claimed.Checkpoint, err = c.Checkpoints.Write(ctx, partition, found.Revision, next); err != nil {
		return Claim{}, fmt.Errorf("claim partition %d: %w", partition.Number, err)
	}
	if err := c.readTail(ctx, &claimed, replicated); err != nil {
		return Claim{}, fmt.Errorf("claim partition %d: %w", partition.Number, err)
	}
	return claimed, nil
}

// chooseWay decides whether the units of a claim are committed by fast ingest, and
// reports whether the deliveries stream has replicas. Those could forget that a batch
// was ended, see docs/decisions/0020.
func (c *Claimer) chooseWay(ctx context.Context, claimed *Claim) (replicated bool, err error) {
	stream, err := c.JS.Stream(ctx, c.Subjects.DeliveriesStream())
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", c.Subjects.DeliveriesStream(), err)
	}
	info := stream.CachedInfo()
	replicated = info.Config.Replicas > 1 || info.Cluster != nil && len(info.Cluster.Replicas) > 0
	claimed.Fast = c.FastIngest && info.Config.AllowBatchPublish && !replicated
	return replicated, nil
}

// errReplaced says that a worker cannot know where to go on from.
var errReplaced = errors.New("its checkpoint was replaced by what no worker wrote: run router-worker topology repair")

// find returns the newest checkpoint. If it is gone, such as in a purge, that is the one
// known from earlier.
func (c *Claimer) find(ctx context.Context, partition deployment.Partition, known Earlier) (checkpoint.Checkpoint, error) {
	found, err := c.Checkpoints.Read(ctx, partition)
	switch {
	case err != nil || found.At > 0:
		return found, err
	case found.Replaced && known.Checkpoint.Worker == "":
		return checkpoint.Checkpoint{}, fmt.Errorf("claim partition %d: %w: %w", partition.Number, errReplaced, found.Foreign)
	}
	own := known.Checkpoint
	own.Tail = own.Behind()
	own.At, own.Revision = 0, found.Revision
	return own, nil
}

// readTail ends the batch that the checkpoint of a claim names, and reads what is
// stored of it, and of those before it that were not finished either. Where the batch
// came to its end just before, its last checkpoint is newer than the claim's, and the
// next commit finds the partition lost.
func (c *Claimer) readTail(ctx context.Context, claimed *Claim, replicated bool) error {
	own := &claimed.Checkpoint
	t := own.Behind()
	if t.From == 0 {
		return nil
	}
	if own.Batch != "" && planted.Mistake != planted.BatchLeftOpen {
		var err error
		if t.To, err = batchpublish.End(ctx, c.JS.Conn(), claimed.Partition.Checkpoint(c.Subjects), own.Batch); err != nil {
			return err
		}
		if replicated {
			c.Pause(ctx, batchTimeout)
		}
	}
	var err error
	claimed.Tail, err = c.Checkpoints.ReadTail(ctx, claimed.Partition, claimed.Position, t)
	own.Batch, own.Tail = "", claimed.Tail.Place()
	return err
}

// batchTimeout is a while longer than replicas remember a batch that nothing is
// stored of. One that leads from now on would let it go on, though it was ended.
const batchTimeout = 12 * time.Second

// epoch returns the epoch to go on in. Where the updates stream went back in time
// together with the deliveries stream, the checkpoint fits it and tells of no
// break; what this worker has read does.
func (c *Claimer) epoch(ctx context.Context, from, reached checkpoint.Position) (int64, error) {
	if reached.Created.IsZero() {
		return from.Epoch, nil
	}
	resumed, err := c.Continuity.Resume(ctx, reached, reached, time.Time{})
	if err != nil {
		return 0, err
	}
	return max(from.Epoch, resumed.Epoch), nil
}

// position returns where to read from: behind the checkpoint, or where partitions
// without one start.
func (c *Claimer) position(ctx context.Context, found checkpoint.Checkpoint) (checkpoint.Position, error) {
	if found.Worker != "" {
		return c.Continuity.Resume(ctx, found.Position(), found.Reached(), found.StoredAt)
	}
	stream, err := c.JS.Stream(ctx, c.Subjects.UpdatesStream())
	if err != nil {
		return checkpoint.Position{}, fmt.Errorf("look up stream %s: %w", c.Subjects.UpdatesStream(), err)
	}
	info := stream.CachedInfo()
	from := checkpoint.Position{Epoch: info.Created.UnixMilli(), Created: info.Created}
	if c.Newest {
		from.Sequence, from.Time = info.State.LastSeq, info.State.LastTime
	}
	return from, nil
}
