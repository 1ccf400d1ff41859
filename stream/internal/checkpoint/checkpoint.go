package checkpoint

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
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// Position is how far a partition has come: every update up to sequence is done,
// but where after names a recipient, the update at sequence is done up to that
// recipient only.
type Position struct {
	Epoch    int64     // ms; changes where a break in the updates stream was noticed
	Sequence uint64    // in the updates stream, 0 before the first update
	Time     time.Time // when the update at sequence was stored
	Created  time.Time // when the updates stream was created
	After    presence.UserID
}

// Next returns the first sequence that is not done.
func (p Position) Next() uint64 {
	if !p.After.IsZero() || planted.Mistake == planted.CheckpointAgain && p.Sequence > 0 {
		return p.Sequence
	}
	return p.Sequence + 1
}

// Amid reports whether p is amid the update at a sequence of an epoch: an earlier worker
// has done it up to a recipient.
func (p Position) Amid(epoch int64, sequence uint64) bool {
	return !p.After.IsZero() && p.Sequence == sequence && p.Epoch == epoch
}

// Resumes reports whether p is of an earlier updates stream than the one created at
// created.
func (p Position) Resumes(created time.Time) bool {
	return !p.Created.IsZero() && !p.Created.Equal(created)
}

// Undone requests the updates that are not done of a partition with the filter
// updates, from the updates stream created at created.
func (p Position) Undone(updates string, created time.Time) jsapi.MessageRequest {
	if p.Resumes(created) {
		after := p.Time.Add(time.Nanosecond)
		return jsapi.MessageRequest{NextSubject: updates, StartTime: &after}
	}
	return jsapi.MessageRequest{NextSubject: updates, Sequence: p.Next()}
}

// Checkpoint is a position as it stands in the deliveries stream. The newest message on
// the subject of checkpoints need not be one: the server stores an acknowledgement
// there if a publisher names that subject for the answer.
type Checkpoint struct {
	wire.Checkpoint
	At       uint64    // sequence of the checkpoint message, 0 for none
	Revision uint64    // sequence of the newest message on the subject, which the next checkpoint replaces; 0 for none
	StoredAt time.Time // when the server stored the checkpoint
	Foreign  error     // why the newest message is no checkpoint of a worker, nil if it is this one
	Replaced bool      // no checkpoint is left, and one may have been replaced by what no worker wrote
}

// Position returns the position that the checkpoint is about.
func (c Checkpoint) Position() Position {
	return Position{Epoch: c.Epoch, Sequence: c.Sequence, Time: c.Time, Created: c.Created, After: c.After}
}

// Behind returns where messages may be stored about updates behind the position; its
// From is 0 where there are none.
func (c Checkpoint) Behind() wire.Tail {
	t := c.Tail
	if c.At > 0 && t.From >= c.At { // of a stream that was there before
		t.From = 0
	}
	if t.From == 0 && c.Batch != "" {
		t.From = c.At
	}
	if t.From == 0 {
		return wire.Tail{}
	}
	return t
}

// Open returns c as it stands while a batch is storing messages about updates up to
// upTo.
func (c Checkpoint) Open(batch string, upTo Position) Checkpoint {
	t := c.Behind()
	if upTo.Sequence > t.Sequence {
		t.Sequence, t.Time = upTo.Sequence, upTo.Time
	}
	c.Batch, c.Tail = batch, t
	return c
}

// Reached returns the position of the last update that messages may be stored about.
func (c Checkpoint) Reached() Position {
	p := c.Position()
	if t := c.Behind(); t.Sequence > p.Sequence {
		p.Sequence, p.Time = t.Sequence, t.Time
	}
	return p
}

// Checkpoint returns the checkpoint that worker writes for p with a commit.
func (p Position) Checkpoint(worker, commit string) wire.Checkpoint {
	return wire.Checkpoint{
		Epoch: p.Epoch, Sequence: p.Sequence, Time: p.Time, Created: p.Created, After: p.After,
		Worker: worker, Commit: commit,
	}
}

// Store reads the checkpoints of the partitions from the stream's leader, and
// writes them.
type Store struct {
	js         jetstream.JetStream
	deliveries jsapi.Leader
	subjects   wire.Subjects
	notice     *foreignNotice // nil to say nothing
}

// NewStore returns the checkpoints of a deployment.
func NewStore(js jetstream.JetStream, subjects wire.Subjects) Store {
	return Store{js: js, deliveries: jsapi.Leader{NC: js.Conn(), Stream: subjects.DeliveriesStream()}, subjects: subjects}
}

// Noting returns c with a notice of messages that no worker wrote, each of which count
// counts.
func (c Store) Noting(log *slog.Logger, count func(ctx context.Context, partition int)) Store {
	c.notice = &foreignNotice{log: log, count: count, known: make(map[deployment.Partition]uint64)}
	return c
}

// Has reports whether a partition has a checkpoint that a worker wrote.
func (c Store) Has(ctx context.Context, partition deployment.Partition) (bool, error) {
	found, err := c.Read(ctx, partition)
	return found.At > 0, err
}

// Read returns the newest checkpoint of a partition that a worker wrote. Its At is 0 if
// there is none.
func (c Store) Read(ctx context.Context, partition deployment.Partition) (Checkpoint, error) {
	subject := partition.Checkpoint(c.subjects)
	newest, err := c.deliveries.Get(ctx, jsapi.MessageRequest{LastSubject: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Checkpoint{}, nil
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read checkpoint of partition %d: %w", partition.Number, err)
	}
	found, foreign := decodeCheckpoint(newest)
	if foreign == nil {
		return found, nil
	}
	if found, err = c.sound(ctx, subject); err != nil {
		return Checkpoint{}, fmt.Errorf("read checkpoint of partition %d: %w", partition.Number, err)
	}
	if found.At > newest.Sequence { // It was written meanwhile.
		return found, nil
	}
	found.Revision, found.Foreign = newest.Sequence, fmt.Errorf("message %d: %w", newest.Sequence, foreign)
	c.notice.tell(ctx, partition, found)
	return found, nil
}

// sound returns the newest checkpoint that a worker wrote, however many messages follow
// it. The server deletes what is on the subject when it stores a checkpoint, so it is
// the first message, or, if the server stopped before it had deleted, follows the first.
func (c Store) sound(ctx context.Context, subject string) (Checkpoint, error) {
	var newest Checkpoint
	for next := uint64(1); ; next = newest.At + 1 {
		m, err := c.deliveries.Get(ctx, jsapi.MessageRequest{Sequence: next, NextSubject: subject})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return newest, nil
		}
		if err != nil {
			return Checkpoint{}, err
		}
		found, foreign := decodeCheckpoint(m)
		if foreign != nil {
			newest.Replaced = newest.At == 0 && found.Replaced
			return newest, nil
		}
		newest = found
	}
}

// Write publishes a checkpoint where the newest one is still at revision, and
// returns it as it is stored.
func (c Store) Write(ctx context.Context, partition deployment.Partition, revision uint64, next wire.Checkpoint) (Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	ack, err := c.js.PublishMsg(ctx,
		&nats.Msg{
			Subject: partition.Checkpoint(c.subjects),
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
		return Checkpoint{Checkpoint: next, At: ack.Sequence, Revision: ack.Sequence}, nil
	}
	if !jsapi.Classify(err).IsOpen() {
		return Checkpoint{}, err
	}
	return c.written(ctx, partition, next.Commit, err)
}

// written looks up whether a checkpoint was stored after all.
func (c Store) written(ctx context.Context, partition deployment.Partition, commit string, cause error) (Checkpoint, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jsapi.Timeout)
	defer cancel()
	newest, err := c.Read(ctx, partition)
	if err != nil {
		return Checkpoint{}, errors.Join(cause, err)
	}
	if newest.Commit != commit {
		return Checkpoint{}, cause
	}
	return newest, nil
}

var (
	errNoRollup = errors.New("header Nats-Rollup is missing, which every checkpoint has")
	errCopied   = errors.New("header Nats-Stream is there: the server sent it in answer to somebody who read it")
)

// decodeCheckpoint returns the checkpoint that m is. The error says why it is none that
// a worker wrote; then the checkpoint says whether m has replaced what was there.
func decodeCheckpoint(m jsapi.Message) (Checkpoint, error) {
	header := nats.Header{}
	if len(m.Headers) > 0 {
		var err error
		if header, err = nats.DecodeHeadersMsg(m.Headers); err != nil {
			return Checkpoint{}, fmt.Errorf("decode headers: %w", err)
		}
	}
	if header.Get(jetstream.MsgRollup) != jetstream.MsgRollupSubject {
		return Checkpoint{}, errNoRollup
	}
	if header.Get(jetstream.StreamHeader) != "" {
		return Checkpoint{Replaced: true}, errCopied
	}
	decoded, err := wire.DecodeCheckpoint(m.Data)
	if err != nil {
		return Checkpoint{Replaced: true}, err
	}
	return Checkpoint{Checkpoint: decoded, At: m.Sequence, Revision: m.Sequence, StoredAt: m.Time}, nil
}

// foreignNotice says that messages that no worker wrote stand where checkpoints do.
type foreignNotice struct {
	log   *slog.Logger
	count func(ctx context.Context, partition int)

	mu    sync.Mutex
	known map[deployment.Partition]uint64 // sequence of the newest one that was counted
	told  time.Time                       // when the newest line was logged
}

// tell counts each message that is found once, and logs one of them in a while.
func (n *foreignNotice) tell(ctx context.Context, partition deployment.Partition, found Checkpoint) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[partition] == found.Revision {
		return
	}
	n.known[partition] = found.Revision
	n.count(ctx, partition.Number)
	if time.Since(n.told) > wait.Reminder {
		n.told = time.Now()
		n.log.Warn("no worker wrote the newest message in place of a checkpoint, going on from the newest checkpoint of a worker",
			"partition", partition.Number, "reason", found.Foreign, "checkpoint", found.At)
	}
}
