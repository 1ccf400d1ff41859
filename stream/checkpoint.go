package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/wait"
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

// checkpoint is a position as it stands in the deliveries stream. The newest message on
// the subject of checkpoints need not be one: the server stores an acknowledgement
// there if a publisher names that subject for the answer.
type checkpoint struct {
	wire.Checkpoint
	sequence uint64    // of the checkpoint message, 0 for none
	revision uint64    // sequence of the newest message on the subject, which the next checkpoint replaces; 0 for none
	stored   time.Time // when the server stored the checkpoint
	foreign  error     // why the newest message is no checkpoint of a worker, nil if it is this one
	replaced bool      // no checkpoint is left, and one may have been replaced by what no worker wrote
}

func (c checkpoint) position() position {
	return position{epoch: c.Epoch, sequence: c.Sequence, time: c.Time, created: c.Created, after: c.After}
}

// tail returns where messages may be stored about updates behind the position; its
// From is 0 where there are none.
func (c checkpoint) tail() wire.Tail {
	t := c.Tail
	if c.sequence > 0 && t.From >= c.sequence { // of a stream that was there before
		t.From = 0
	}
	if t.From == 0 && c.Batch != "" {
		t.From = c.sequence
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
	notice     *foreignNotice // nil to say nothing
}

// read returns the newest checkpoint of a partition that a worker wrote. Its sequence is
// 0 if there is none.
func (c checkpoints) read(ctx context.Context, partition partitionID) (checkpoint, error) {
	subject := partition.checkpoint(c.subjects)
	newest, err := c.deliveries.get(ctx, getRequest{LastSubject: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return checkpoint{}, nil
	}
	if err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint of partition %d: %w", partition.number, err)
	}
	found, foreign := decodeCheckpoint(newest)
	if foreign == nil {
		return found, nil
	}
	if found, err = c.sound(ctx, subject); err != nil {
		return checkpoint{}, fmt.Errorf("read checkpoint of partition %d: %w", partition.number, err)
	}
	if found.sequence > newest.Sequence { // It was written meanwhile.
		return found, nil
	}
	found.revision, found.foreign = newest.Sequence, fmt.Errorf("message %d: %w", newest.Sequence, foreign)
	c.notice.tell(ctx, partition, found)
	return found, nil
}

// sound returns the newest checkpoint that a worker wrote, however many messages follow
// it. The server deletes what is on the subject when it stores a checkpoint, so it is
// the first message, or, if the server stopped before it had deleted, follows the first.
func (c checkpoints) sound(ctx context.Context, subject string) (checkpoint, error) {
	var newest checkpoint
	for next := uint64(1); ; next = newest.sequence + 1 {
		m, err := c.deliveries.get(ctx, getRequest{Sequence: next, NextSubject: subject})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return newest, nil
		}
		if err != nil {
			return checkpoint{}, err
		}
		found, foreign := decodeCheckpoint(m)
		if foreign != nil {
			newest.replaced = newest.sequence == 0 && found.replaced
			return newest, nil
		}
		newest = found
	}
}

var (
	errNoRollup = errors.New("header Nats-Rollup is missing, which every checkpoint has")
	errCopied   = errors.New("header Nats-Stream is there: the server sent it in answer to somebody who read it")
)

// decodeCheckpoint returns the checkpoint that m is. The error says why it is none that
// a worker wrote; then the checkpoint says whether m has replaced what was there.
func decodeCheckpoint(m stored) (checkpoint, error) {
	header := nats.Header{}
	if len(m.Headers) > 0 {
		var err error
		if header, err = nats.DecodeHeadersMsg(m.Headers); err != nil {
			return checkpoint{}, fmt.Errorf("decode headers: %w", err)
		}
	}
	if header.Get(jetstream.MsgRollup) != jetstream.MsgRollupSubject {
		return checkpoint{}, errNoRollup
	}
	if header.Get(jetstream.StreamHeader) != "" {
		return checkpoint{replaced: true}, errCopied
	}
	decoded, err := wire.DecodeCheckpoint(m.Data)
	if err != nil {
		return checkpoint{replaced: true}, err
	}
	return checkpoint{Checkpoint: decoded, sequence: m.Sequence, revision: m.Sequence, stored: m.Time}, nil
}

// foreignNotice says that messages that no worker wrote stand where checkpoints do.
type foreignNotice struct {
	log       *slog.Logger
	telemetry *telemetry

	mu    sync.Mutex
	known map[partitionID]uint64 // sequence of the newest one that was counted
	told  time.Time              // when the newest line was logged
}

func newForeignNotice(log *slog.Logger, t *telemetry) *foreignNotice {
	return &foreignNotice{log: log, telemetry: t, known: make(map[partitionID]uint64)}
}

// tell counts each message that is found once, and logs one of them in a while.
func (n *foreignNotice) tell(ctx context.Context, partition partitionID, found checkpoint) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[partition] == found.revision {
		return
	}
	n.known[partition] = found.revision
	n.telemetry.foreignCheckpoint(ctx, partition.number)
	if time.Since(n.told) > wait.Reminder {
		n.told = time.Now()
		n.log.Warn("no worker wrote the newest message in place of a checkpoint, going on from the newest checkpoint of a worker",
			"partition", partition.number, "reason", found.foreign, "checkpoint", found.sequence)
	}
}
