package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// claim is a partition that this worker has taken over: its checkpoint is
// rewritten under the worker's name, so that whoever had it is fenced.
type claim struct {
	partition  partitionID
	position   position
	checkpoint checkpoint // the newest one, this worker's own
	tail       *tail
	fast       bool   // whether units are committed by fast ingest
	before     string // worker that had the partition before, "" where it had no checkpoint
	again      bool   // this worker had it all along
}

// earlier is what a worker knows from an earlier claim of a partition; the zero
// value is nothing.
type earlier struct {
	reached    position   // up to where it has read
	checkpoint checkpoint // the newest one it knows to be its own
}

// claimer takes partitions over.
type claimer struct {
	js          jetstream.JetStream
	subjects    wire.Subjects
	checkpoints checkpoints
	tails       tailReader
	continuity  *continuity
	worker      string
	start       Start
	fastIngest  bool // where the deliveries stream allows it
	pause       func(context.Context, time.Duration)
}

// claim takes a partition over. It tries once; a refusal means that somebody
// else wrote a checkpoint in between, and claiming again is safe. A batch that the
// one before was storing is ended, and what is stored of it is the claim's tail.
func (c *claimer) claim(ctx context.Context, partition partitionID, commit string, known earlier) (claim, error) {
	found, err := c.find(ctx, partition, known)
	if err != nil {
		return claim{}, err
	}
	claimed := claim{partition: partition, before: found.Worker, again: known != earlier{} && found.Worker == c.worker}
	if claimed.position, err = c.position(ctx, found); err != nil {
		return claim{}, err
	}
	if claimed.position.epoch, err = c.epoch(ctx, claimed.position, known.reached); err != nil {
		return claim{}, err
	}
	replicated, err := c.chooseWay(ctx, &claimed)
	if err != nil {
		return claim{}, err
	}
	next := claimed.position.checkpoint(c.worker, commit)
	next.Batch, next.Tail = found.Batch, found.tail()
	if next.Epoch != found.Epoch { // The updates that the tail is about are gone.
		next.Tail.Sequence, next.Tail.Time = 0, time.Time{}
	}
	if claimed.checkpoint, err = c.write(ctx, partition, found.revision, next); err != nil {
		return claim{}, fmt.Errorf("claim partition %d: %w", partition.number, err)
	}
	if err := c.readTail(ctx, &claimed, replicated); err != nil {
		return claim{}, fmt.Errorf("claim partition %d: %w", partition.number, err)
	}
	return claimed, nil
}

// errReplaced says that a worker cannot know where to go on from.
var errReplaced = errors.New("its checkpoint was replaced by what no worker wrote: run router-worker topology repair")

// find returns the newest checkpoint. If it is gone, such as in a purge, that is the one
// known from earlier.
func (c *claimer) find(ctx context.Context, partition partitionID, known earlier) (checkpoint, error) {
	found, err := c.checkpoints.read(ctx, partition)
	switch {
	case err != nil || found.sequence > 0:
		return found, err
	case found.replaced && known.checkpoint.Worker == "":
		return checkpoint{}, fmt.Errorf("claim partition %d: %w: %w", partition.number, errReplaced, found.foreign)
	}
	own := known.checkpoint
	own.Tail = own.tail()
	own.sequence, own.revision = 0, found.revision
	return own, nil
}

// readTail ends the batch that the checkpoint of a claim names, and reads what is
// stored of it, and of those before it that were not finished either. Where the batch
// came to its end just before, its last checkpoint is newer than the claim's, and the
// next commit finds the partition lost.
func (c *claimer) readTail(ctx context.Context, claimed *claim, replicated bool) error {
	own := &claimed.checkpoint
	t := own.tail()
	if t.From == 0 {
		return nil
	}
	if own.Batch != "" && planted != batchLeftOpen {
		var err error
		if t.To, err = c.end(ctx, claimed.partition, own.Batch); err != nil {
			return err
		}
		if replicated {
			c.pause(ctx, batchTimeout)
		}
	}
	var err error
	claimed.tail, err = c.tails.read(ctx, claimed.partition, claimed.position, t)
	own.Batch, own.Tail = "", claimed.tail.place()
	return err
}

// batchTimeout is a while longer than replicas remember a batch that nothing is
// stored of. One that leads from now on would let it go on, though it was ended.
const batchTimeout = 12 * time.Second

// epoch returns the epoch to go on in. Where the updates stream went back in time
// together with the deliveries stream, the checkpoint fits it and tells of no
// break; what this worker has read does.
func (c *claimer) epoch(ctx context.Context, from, reached position) (int64, error) {
	if reached.created.IsZero() {
		return from.epoch, nil
	}
	resumed, err := c.continuity.resume(ctx, reached, reached, time.Time{})
	if err != nil {
		return 0, err
	}
	return max(from.epoch, resumed.epoch), nil
}

// position returns where to read from: behind the checkpoint, or where partitions
// without one start.
func (c *claimer) position(ctx context.Context, found checkpoint) (position, error) {
	if found.Worker != "" {
		return c.continuity.resume(ctx, found.position(), found.reached(), found.stored)
	}
	stream, err := c.js.Stream(ctx, c.subjects.UpdatesStream())
	if err != nil {
		return position{}, fmt.Errorf("look up stream %s: %w", c.subjects.UpdatesStream(), err)
	}
	info := stream.CachedInfo()
	from := position{epoch: info.Created.UnixMilli(), created: info.Created}
	if c.start == Newest {
		from.sequence, from.time = info.State.LastSeq, info.State.LastTime
	}
	return from, nil
}

// write publishes a checkpoint where the newest one is still at revision, and
// returns it as it is stored.
func (c *claimer) write(ctx context.Context, partition partitionID, revision uint64, next wire.Checkpoint) (checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	ack, err := c.js.PublishMsg(ctx,
		&nats.Msg{
			Subject: partition.checkpoint(c.subjects),
			Data:    wire.AppendCheckpoint(nil, next),
			Header: nats.Header{
				jetstream.MsgRollup:    {jetstream.MsgRollupSubject},
				jetstream.MsgTTLHeader: {"never"},
			},
		},
		jetstream.WithExpectLastSequencePerSubject(revision),
		jetstream.WithExpectStream(c.subjects.DeliveriesStream()),
	)
	if err == nil {
		return checkpoint{Checkpoint: next, sequence: ack.Sequence, revision: ack.Sequence}, nil
	}
	if refused(err) || !undecided(err) {
		return checkpoint{}, err
	}
	return c.written(ctx, partition, next.Commit, err)
}

// written looks up whether a checkpoint was stored after all.
func (c *claimer) written(ctx context.Context, partition partitionID, commit string, cause error) (checkpoint, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	newest, err := c.checkpoints.read(ctx, partition)
	if err != nil {
		return checkpoint{}, errors.Join(cause, err)
	}
	if newest.Commit != commit {
		return checkpoint{}, cause
	}
	return newest, nil
}
