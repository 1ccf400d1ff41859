package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxPartitions is how many partitions a layout has at most.
const maxPartitions = 256

// partitionID names a partition of one layout.
type partitionID struct {
	generation int
	number     int
}

// updates returns the filter of the partition's updates.
func (p partitionID) updates(subjects wire.Subjects) string {
	return subjects.In(p.generation).PartitionUpdates(p.number)
}

// checkpoint returns the subject of the partition's checkpoint.
func (p partitionID) checkpoint(subjects wire.Subjects) string {
	return subjects.In(p.generation).Checkpoint(p.number)
}

// layouts finds out how the updates of a deployment are divided. The transform of
// the updates stream says how they are from now on; the record, where there is one,
// says whether workers are to wait with that until a move is done.
type layouts struct {
	js          jetstream.JetStream
	workers     leader // of the stream that holds the record
	checkpoints checkpoints
	subjects    wire.Subjects
}

func newLayouts(js jetstream.JetStream, subjects wire.Subjects) layouts {
	return layouts{
		js: js, subjects: subjects, workers: leader{nc: js.Conn(), stream: subjects.WorkersStream()},
		checkpoints: checkpoints{deliveries: leader{nc: js.Conn(), stream: subjects.DeliveriesStream()}, subjects: subjects},
	}
}

// layoutRecord is the layout record as it stands on the server.
type layoutRecord struct {
	wire.LayoutRecord
	revision uint64    // sequence of its message, 0 where there is none
	written  time.Time // when the server stored it
	foreign  error     // why the message is no record, nil if it is one; then the record is empty
}

// intact returns an error that wraps ErrRefused if the message is no record.
func (r layoutRecord) intact() error {
	if r.foreign == nil {
		return nil
	}
	return fmt.Errorf("%w: no command wrote what stands in place of the layout record: run router-worker topology repair, then this command again: %w", ErrRefused, r.foreign)
}

// division is how the updates of a deployment are divided.
type division struct {
	stored   wire.Layout // that updates are stored in from now on
	updates  *jetstream.StreamInfo
	record   layoutRecord
	doubtful bool // the record does not tell whether updates in the layout stored are to wait, and nor do the checkpoints
}

// errDoubtful says that workers cannot know which partitions to serve.
var errDoubtful = errors.New("the layout record was replaced while the number of partitions changed: run router-worker topology repair")

// errBehind says what is wrong with a record that workers of the layout stored cannot
// have been told of.
var errBehind = errors.New("it names an earlier layout than updates are stored in, and no change")

// behind reports whether the record is of an earlier layout than the one that updates
// are stored in, and of no change.
func (d division) behind() bool {
	return d.record.revision > 0 && d.record.Move == nil && d.record.Serving.Generation < d.stored.Generation
}

// unsound returns what is wrong with the layout record, or nil.
func (d division) unsound() error {
	if d.record.foreign == nil && d.behind() {
		return errBehind
	}
	return d.record.foreign
}

// known returns nil, or an error if it is not known which layout workers are to serve.
func (d division) known() error {
	if !d.doubtful {
		return nil
	}
	return fmt.Errorf("%w: %w", errDoubtful, d.unsound())
}

// serving returns the layout that workers are to serve.
func (d division) serving() wire.Layout {
	if d.waits() {
		return d.record.Serving
	}
	return d.stored
}

// move returns the move that is under way, nil for none. One of a stream that is
// stored otherwise by now, such as from a backup, is none.
func (d division) move() *wire.LayoutMove {
	if m := d.record.Move; m != nil && (d.stored == d.record.Serving || d.stored == m.To) {
		return m
	}
	return nil
}

// waits reports whether updates are stored already in the layout of a move, and wait
// for its end.
func (d division) waits() bool {
	m := d.move()
	return m != nil && d.stored == m.To
}

// held returns the updates that wait for the end of the move that is under way.
func (d division) held(ctx context.Context, nc *nats.Conn, subjects wire.Subjects) (backlog, error) {
	filter := subjects.In(d.move().To.Generation).GenerationUpdates()
	return readBacklog(ctx, nc, subjects.UpdatesStream(), getRequest{Sequence: 1, NextSubject: filter})
}

// tell says what is under way where there is a move.
func (d division) tell() string {
	return fmt.Sprintf("a change from %d to %s is under way", d.record.Serving.Partitions, plural.Of(d.move().To.Partitions, "partition", "partitions"))
}

// remedy says what to do where the move to a number of partitions does not end.
func remedy(partitions int) string {
	return fmt.Sprintf("if no command is at work, run: router-worker topology repartition %d", partitions)
}

// divided returns how updates are divided.
func (l layouts) divided(ctx context.Context) (division, error) {
	stored, updates, err := l.stored(ctx)
	if err != nil {
		return division{}, err
	}
	return l.dividedAs(ctx, stored, updates)
}

// dividedAs is divided for those who know how updates are stored. The record is read
// after that: a move is in it before the transform is changed.
func (l layouts) dividedAs(ctx context.Context, stored wire.Layout, updates *jetstream.StreamInfo) (division, error) {
	record, err := l.record(ctx)
	if err != nil {
		return division{}, err
	}
	d := division{stored: stored, updates: updates, record: record}
	if d.unsound() != nil {
		positioned, err := l.positioned(ctx, stored)
		if err != nil {
			return division{}, err
		}
		d.doubtful = !positioned
	}
	return d, nil
}

// positioned reports whether workers may serve a layout for all that is known without a
// record: it is the first one, or its partitions have the positions that they begin at,
// which they get once everything in the layout before is committed.
func (l layouts) positioned(ctx context.Context, layout wire.Layout) (bool, error) {
	if layout.Generation == 0 {
		return true, nil
	}
	for n := range layout.Partitions {
		found, err := l.checkpoints.read(ctx, partitionID{layout.Generation, n})
		if err != nil || found.sequence == 0 {
			return false, err
		}
	}
	return true, nil
}

// stored returns the layout that updates are stored in from now on, and the
// stream.
func (l layouts) stored(ctx context.Context) (wire.Layout, *jetstream.StreamInfo, error) {
	stream, err := l.js.Stream(ctx, l.subjects.UpdatesStream())
	if err != nil {
		return wire.Layout{}, nil, fmt.Errorf("look up stream %s: %w", l.subjects.UpdatesStream(), err)
	}
	info := stream.CachedInfo()
	layout, err := layoutOf(l.subjects, info.Config)
	if err != nil {
		return wire.Layout{}, nil, fmt.Errorf("look up stream %s: %w", l.subjects.UpdatesStream(), err)
	}
	return layout, info, nil
}

// record returns the layout record. What stands in its place and is none, such as an
// acknowledgement that somebody had the server send there, is one that says nothing.
func (l layouts) record(ctx context.Context) (layoutRecord, error) {
	message, err := l.workers.get(ctx, getRequest{LastSubject: l.subjects.LayoutRecord()})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return layoutRecord{}, nil
	}
	if err != nil {
		return layoutRecord{}, fmt.Errorf("read the layout record: %w", err)
	}
	record, err := wire.DecodeLayoutRecord(message.Data)
	return layoutRecord{LayoutRecord: record, revision: message.Sequence, written: message.Time, foreign: err}, nil
}

// store stores the layout record where the newest one is still at revision.
// Workers hear of it.
func (l layouts) store(ctx context.Context, record wire.LayoutRecord, revision uint64) error {
	data, err := record.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err = l.js.PublishMsg(ctx, &nats.Msg{Subject: l.subjects.LayoutRecord(), Data: data},
		jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithExpectStream(l.subjects.WorkersStream()))
	if refused(err) {
		return errChanged
	}
	if err != nil {
		return fmt.Errorf("store the layout record: %w", err)
	}
	return nil
}

// layoutOf returns the layout that the updates stream stores updates in.
func layoutOf(subjects wire.Subjects, updates jetstream.StreamConfig) (wire.Layout, error) {
	if updates.SubjectTransform == nil || updates.SubjectTransform.Source != subjects.Updates() {
		return wire.Layout{}, fmt.Errorf("subject transform is %s, want one of %s", showTransform(updates), subjects.Updates())
	}
	return subjects.ParseUpdateTransform(updates.SubjectTransform.Destination)
}
