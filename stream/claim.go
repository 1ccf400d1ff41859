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
	partition partitionID
	position  position
	revision  uint64 // of the checkpoint
	commit    string // ID that it was written with
	before    string // worker that had the partition before, "" where it had no checkpoint
}

// claimer takes partitions over.
type claimer struct {
	js          jetstream.JetStream
	subjects    wire.Subjects
	checkpoints checkpoints
	continuity  *continuity
	worker      string
	start       Start
}

// claim takes a partition over. It tries once; a refusal means that somebody
// else wrote a checkpoint in between, and claiming again is safe. reached is how
// far this worker had come before the deliveries stream went back in time, zero
// where it has not had the partition.
func (c *claimer) claim(ctx context.Context, partition partitionID, commit string, reached position) (claim, error) {
	found, err := c.checkpoints.read(ctx, partition)
	if err != nil {
		return claim{}, err
	}
	from, err := c.position(ctx, found)
	if err != nil {
		return claim{}, err
	}
	if from.epoch, err = c.epoch(ctx, from, reached); err != nil {
		return claim{}, err
	}
	revision, err := c.write(ctx, partition, found.revision, from.checkpoint(c.worker, commit))
	if err != nil {
		return claim{}, fmt.Errorf("claim partition %d: %w", partition.number, err)
	}
	return claim{partition: partition, position: from, revision: revision, commit: commit, before: found.Worker}, nil
}

// epoch returns the epoch to go on in. Where the updates stream went back in time
// together with the deliveries stream, the checkpoint fits it and tells of no
// break; what this worker has read does.
func (c *claimer) epoch(ctx context.Context, from, reached position) (int64, error) {
	if reached.created.IsZero() {
		return from.epoch, nil
	}
	resumed, err := c.continuity.resume(ctx, reached, time.Time{})
	if err != nil {
		return 0, err
	}
	return max(from.epoch, resumed.epoch), nil
}

// position returns where to read from: behind the checkpoint, or where partitions
// without one start.
func (c *claimer) position(ctx context.Context, found checkpoint) (position, error) {
	if found.revision > 0 {
		return c.continuity.resume(ctx, found.position(), found.stored)
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

// write publishes a checkpoint where the newest one is still at revision.
func (c *claimer) write(ctx context.Context, partition partitionID, revision uint64, checkpoint wire.Checkpoint) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	ack, err := c.js.PublishMsg(ctx,
		&nats.Msg{
			Subject: partition.checkpoint(c.subjects),
			Data:    wire.AppendCheckpoint(nil, checkpoint),
			Header: nats.Header{
				jetstream.MsgRollup:    {jetstream.MsgRollupSubject},
				jetstream.MsgTTLHeader: {"never"},
			},
		},
		jetstream.WithExpectLastSequencePerSubject(revision),
		jetstream.WithExpectStream(c.subjects.DeliveriesStream()),
	)
	if err == nil {
		return ack.Sequence, nil
	}
	if refused(err) || !undecided(err) {
		return 0, err
	}
	return c.written(ctx, partition, checkpoint.Commit, err)
}

// written looks up whether a checkpoint was stored after all.
func (c *claimer) written(ctx context.Context, partition partitionID, commit string, cause error) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiTimeout)
	defer cancel()
	newest, err := c.checkpoints.read(ctx, partition)
	if err != nil {
		return 0, errors.Join(cause, err)
	}
	if newest.Commit != commit {
		return 0, cause
	}
	return newest.revision, nil
}
