package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// position is how far a partition has come: every update up to sequence is done,
// but where after names a recipient, the update at sequence is done up to that
// recipient only.
type position struct {
	epoch    int64     // ms; changes where a break in the updates stream was noticed
	sequence uint64    // in the updates stream, 0 before the first update
	time     time.Time // when the update at sequence was stored
	created  time.Time // when the updates stream was created
	after    presence.UserID
}

// next returns the first sequence that is not done.
func (p position) next() uint64 {
	if !p.after.IsZero() || planted == checkpointAgain && p.sequence > 0 {
		return p.sequence
	}
	return p.sequence + 1
}

// resumes reports whether p is of an earlier updates stream than the one created at
// created.
func (p position) resumes(created time.Time) bool {
	return !p.created.IsZero() && !p.created.Equal(created)
}

// behind requests the updates that are not done of a partition with the filter
// updates, from the updates stream created at created.
func (p position) behind(updates string, created time.Time) getRequest {
	if p.resumes(created) {
		after := p.time.Add(time.Nanosecond)
		return getRequest{NextSubject: updates, StartTime: &after}
	}
	return getRequest{NextSubject: updates, Sequence: p.next()}
}

// checkpoint is a position as it stands in the deliveries stream.
type checkpoint struct {
	wire.Checkpoint
	revision uint64    // sequence of the checkpoint message, 0 where there is none
	stored   time.Time // when the server stored it
}

func (c checkpoint) position() position {
	return position{epoch: c.Epoch, sequence: c.Sequence, time: c.Time, created: c.Created, after: c.After}
}

// tail returns where messages may be stored about updates behind the position; its
// From is 0 where there are none.
func (c checkpoint) tail() wire.Tail {
	t := c.Tail
	if c.revision > 0 && t.From >= c.revision { // of a stream that was there before
		t.From = 0
	}
	if t.From == 0 && c.Batch != "" {
		t.From = c.revision
	}
	if t.From == 0 {
		return wire.Tail{}
	}
	return t
}

// open returns c as it stands while a batch is storing messages about updates up to
// upTo.
func (c checkpoint) open(batch string, upTo position) checkpoint {
	t := c.tail()
	t.To = 0
	if upTo.sequence > t.Sequence {
		t.Sequence, t.Time = upTo.sequence, upTo.time
	}
	c.Batch, c.Tail = batch, t
	return c
}

// reached returns the position of the last update that messages may be stored about.
func (c checkpoint) reached() position {
	p := c.position()
	if t := c.tail(); t.Sequence > p.sequence {
		p.sequence, p.time = t.Sequence, t.Time
	}
	return p
}

func (p position) checkpoint(worker, commit string) wire.Checkpoint {
	return wire.Checkpoint{
		Epoch: p.epoch, Sequence: p.sequence, Time: p.time, Created: p.created, After: p.after,
		Worker: worker, Commit: commit,
	}
}

// checkpoints reads the checkpoints of the partitions from the stream's leader.
type checkpoints struct {
	deliveries leader
	subjects   wire.Subjects
}

// read returns the checkpoint of a partition, with revision 0 where there is
// none.
func (c checkpoints) read(ctx context.Context, partition partitionID) (checkpoint, error) {
	message, err := c.deliveries.get(ctx, getRequest{LastSubject: partition.checkpoint(c.subjects)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint of partition %d: %w", partition.number, err)
	}
	decoded, err := wire.DecodeCheckpoint(message.Data)
	if err != nil {
		return checkpoint{}, fmt.Errorf("decode checkpoint of partition %d: %w", partition.number, err)
	}
	return checkpoint{Checkpoint: decoded, revision: message.Sequence, stored: message.Time}, nil
}
