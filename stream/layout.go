package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

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
	js       jetstream.JetStream
	workers  leader // of the stream that holds the record
	subjects wire.Subjects
}

func newLayouts(js jetstream.JetStream, subjects wire.Subjects) layouts {
	return layouts{js: js, workers: leader{nc: js.Conn(), stream: subjects.WorkersStream()}, subjects: subjects}
}

// serving returns the layout that workers are to serve.
func (l layouts) serving(ctx context.Context) (wire.Layout, error) {
	stored, _, err := l.stored(ctx)
	if err != nil {
		return wire.Layout{}, err
	}
	// The record is read last: a move is in it before the transform is changed.
	record, _, err := l.record(ctx)
	if err != nil {
		return wire.Layout{}, err
	}
	if record.Move != nil && record.Move.To == stored {
		return record.Serving, nil
	}
	return stored, nil
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

// record returns the layout record and its sequence, which is 0 where there is
// none.
func (l layouts) record(ctx context.Context) (wire.LayoutRecord, uint64, error) {
	message, err := l.workers.get(ctx, getRequest{LastSubject: l.subjects.LayoutRecord()})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return wire.LayoutRecord{}, 0, nil
	}
	if err != nil {
		return wire.LayoutRecord{}, 0, fmt.Errorf("read the layout record: %w", err)
	}
	record, err := wire.DecodeLayoutRecord(message.Data)
	if err != nil {
		return wire.LayoutRecord{}, 0, err
	}
	return record, message.Sequence, nil
}

// layoutOf returns the layout that the updates stream stores updates in.
func layoutOf(subjects wire.Subjects, updates jetstream.StreamConfig) (wire.Layout, error) {
	if updates.SubjectTransform == nil || updates.SubjectTransform.Source != subjects.Updates() {
		return wire.Layout{}, fmt.Errorf("subject transform is %s, want one of %s", showTransform(updates), subjects.Updates())
	}
	return subjects.ParseUpdateTransform(updates.SubjectTransform.Destination)
}
