package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

var (
	// ErrRefused is wrapped by the error about a change that is not made.
	ErrRefused = errors.New("refused")

	// ErrChanged says that somebody else changed the layout.
	ErrChanged = fmt.Errorf("%w: another command changes the layout: run it again once that is done", ErrRefused)
)

// MaxPartitions is how many partitions a layout has at most.
const MaxPartitions = 256

// Partition names a partition of one layout.
type Partition struct {
	Generation int
	Number     int
}

// Updates returns the filter of the partition's updates.
func (p Partition) Updates(subjects wire.Subjects) string {
	return subjects.In(p.Generation).PartitionUpdates(p.Number)
}

// Checkpoint returns the subject of the partition's checkpoint.
func (p Partition) Checkpoint(subjects wire.Subjects) string {
	return subjects.In(p.Generation).Checkpoint(p.Number)
}

// Layouts finds out how the updates of a deployment are divided. The transform of
// the updates stream says how they are from now on; the record, where there is one,
// says whether workers are to wait with that until a move is done.
type Layouts struct {
	js       jetstream.JetStream
	workers  jsapi.Leader // of the stream that holds the record
	subjects wire.Subjects
	claimed  func(context.Context, Partition) (bool, error) // reports whether a partition has a checkpoint
}

// NewLayouts returns the layouts of a deployment. What claimed reports is whether a
// partition has a checkpoint.
func NewLayouts(js jetstream.JetStream, subjects wire.Subjects, claimed func(context.Context, Partition) (bool, error)) Layouts {
	return Layouts{
		js: js, subjects: subjects, workers: jsapi.Leader{NC: js.Conn(), Stream: subjects.WorkersStream()}, claimed: claimed,
	}
}

// Record is the layout record as it stands on the server.
type Record struct {
	wire.LayoutRecord
	Revision uint64    // sequence of its message, 0 where there is none
	Written  time.Time // when the server stored it
	Foreign  error     // why the message is no record, nil if it is one; then the record is empty
}

// Intact returns an error that wraps ErrRefused if the message is no record.
func (r Record) Intact() error {
	if r.Foreign == nil {
		return nil
	}
	return fmt.Errorf("%w: no command wrote what stands in place of the layout record: run router-worker topology repair, then this command again: %w", ErrRefused, r.Foreign)
}

// Division is how the updates of a deployment are divided.
type Division struct {
	Stored   wire.Layout // that updates are stored in from now on
	Updates  *jetstream.StreamInfo
	Record   Record
	Doubtful bool // the record does not tell whether updates in the layout stored are to wait, and nor do the checkpoints
}

// errDoubtful says that workers cannot know which partitions to serve.
var errDoubtful = errors.New("the layout record was replaced while the number of partitions changed: run router-worker topology repair")

// errBehind says what is wrong with a record that workers of the layout stored cannot
// have been told of.
var errBehind = errors.New("it names an earlier layout than updates are stored in, and no change")

// behind reports whether the record is of an earlier layout than the one that updates
// are stored in, and of no change.
func (d Division) behind() bool {
	return d.Record.Revision > 0 && d.Record.Move == nil && d.Record.Serving.Generation < d.Stored.Generation
}

// Unsound returns what is wrong with the layout record, or nil.
func (d Division) Unsound() error {
	if d.Record.Foreign == nil && d.behind() {
		return errBehind
	}
	return d.Record.Foreign
}

// Known returns nil, or an error if it is not known which layout workers are to serve.
func (d Division) Known() error {
	if !d.Doubtful {
		return nil
	}
	return fmt.Errorf("%w: %w", errDoubtful, d.Unsound())
}

// Serving returns the layout that workers are to serve.
func (d Division) Serving() wire.Layout {
	if d.Waits() {
		return d.Record.Serving
	}
	return d.Stored
}

// Move returns the move that is under way, nil for none. One of a stream that is
// stored otherwise by now, such as from a backup, is none.
func (d Division) Move() *wire.LayoutMove {
	if m := d.Record.Move; m != nil && (d.Stored == d.Record.Serving || d.Stored == m.To) {
		return m
	}
	return nil
}

// Waits reports whether updates are stored already in the layout of a move, and wait
// for its end.
func (d Division) Waits() bool {
	m := d.Move()
	return m != nil && d.Stored == m.To
}

// Held returns the updates that wait for the end of the move that is under way.
func (l Layouts) Held(ctx context.Context, d Division) (jsapi.Backlog, error) {
	filter := l.subjects.In(d.Move().To.Generation).GenerationUpdates()
	return jsapi.ReadBacklog(ctx, l.js.Conn(), l.subjects.UpdatesStream(), jsapi.MessageRequest{Sequence: 1, NextSubject: filter})
}

// Describe says what is under way where there is a move.
func (d Division) Describe() string {
	return fmt.Sprintf("a change from %d to %s is under way", d.Record.Serving.Partitions, plural.Of(d.Move().To.Partitions, "partition", "partitions"))
}

// Remedy says what to do where the move to a number of partitions does not end.
func Remedy(partitions int) string {
	return fmt.Sprintf("if no command is at work, run: router-worker topology repartition %d", partitions)
}

// Divided returns how updates are divided.
func (l Layouts) Divided(ctx context.Context) (Division, error) {
	stored, updates, err := l.Stored(ctx)
	if err != nil {
		return Division{}, err
	}
	return l.DividedAs(ctx, stored, updates)
}

// DividedAs is divided for those who know how updates are stored. The record is read
// after that: a move is in it before the transform is changed.
func (l Layouts) DividedAs(ctx context.Context, stored wire.Layout, updates *jetstream.StreamInfo) (Division, error) {
	record, err := l.Record(ctx)
	if err != nil {
		return Division{}, err
	}
	d := Division{Stored: stored, Updates: updates, Record: record}
	if d.Unsound() != nil {
		positioned, err := l.positioned(ctx, stored)
		if err != nil {
			return Division{}, err
		}
		d.Doubtful = !positioned
	}
	return d, nil
}

// positioned reports whether workers may serve a layout for all that is known without a
// record: it is the first one, or its partitions have the positions that they begin at,
// which they get once everything in the layout before is committed.
func (l Layouts) positioned(ctx context.Context, layout wire.Layout) (bool, error) {
	if layout.Generation == 0 {
		return true, nil
	}
	for n := range layout.Partitions {
		claimed, err := l.claimed(ctx, Partition{layout.Generation, n})
		if err != nil || !claimed {
			return false, err
		}
	}
	return true, nil
}

// Stored returns the layout that updates are stored in from now on, and the
// stream.
func (l Layouts) Stored(ctx context.Context) (wire.Layout, *jetstream.StreamInfo, error) {
	stream, err := l.js.Stream(ctx, l.subjects.UpdatesStream())
	if err != nil {
		return wire.Layout{}, nil, fmt.Errorf("look up stream %s: %w", l.subjects.UpdatesStream(), err)
	}
	info := stream.CachedInfo()
	layout, err := LayoutOf(l.subjects, info.Config)
	if err != nil {
		return wire.Layout{}, nil, fmt.Errorf("look up stream %s: %w", l.subjects.UpdatesStream(), err)
	}
	return layout, info, nil
}

// Record returns the layout record. What stands in its place and is none, such as an
// acknowledgement that somebody had the server send there, is one that says nothing.
func (l Layouts) Record(ctx context.Context) (Record, error) {
	message, err := l.workers.Get(ctx, jsapi.MessageRequest{LastSubject: l.subjects.LayoutRecord()})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("read the layout record: %w", err)
	}
	record, err := wire.DecodeLayoutRecord(message.Data)
	return Record{LayoutRecord: record, Revision: message.Sequence, Written: message.Time, Foreign: err}, nil
}

// Store stores the layout record where the newest one is still at revision.
// Workers hear of it.
func (l Layouts) Store(ctx context.Context, record wire.LayoutRecord, revision uint64) error {
	data, err := record.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	_, err = l.js.PublishMsg(ctx, &nats.Msg{Subject: l.subjects.LayoutRecord(), Data: data},
		jetstream.WithExpectLastSequencePerSubject(revision), jetstream.WithExpectStream(l.subjects.WorkersStream()))
	if jsapi.Classify(err) == jsapi.Refused {
		return ErrChanged
	}
	if err != nil {
		return fmt.Errorf("store the layout record: %w", err)
	}
	return nil
}

// LayoutOf returns the layout that the updates stream stores updates in.
func LayoutOf(subjects wire.Subjects, updates jetstream.StreamConfig) (wire.Layout, error) {
	if updates.SubjectTransform == nil || updates.SubjectTransform.Source != subjects.Updates() {
		return wire.Layout{}, fmt.Errorf("subject transform is %s, want one of %s", ShowTransform(updates), subjects.Updates())
	}
	return subjects.ParseUpdateTransform(updates.SubjectTransform.Destination)
}

// ShowTransform returns the subject transform of a stream in words.
func ShowTransform(c jetstream.StreamConfig) string {
	if c.SubjectTransform == nil {
		return "none"
	}
	return fmt.Sprintf("%s to %s", c.SubjectTransform.Source, c.SubjectTransform.Destination)
}
