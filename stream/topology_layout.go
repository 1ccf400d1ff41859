package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// divided returns how updates are to be divided: as they are, and where the updates
// stream is missing, as they were. Only a deployment that is new gets the configured
// number of partitions.
func (t *Topology) divided(ctx context.Context) (division, error) {
	have, err := t.existing(ctx, t.subjects.UpdatesStream())
	if err != nil {
		return division{}, err
	}
	record, err := t.layouts.record(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return division{}, err
	}
	d := division{stored: wire.Layout{Partitions: t.config.Partitions}, record: record}
	if have == nil && record.foreign != nil {
		return division{}, fmt.Errorf("%w: the updates stream is missing and the layout record is none, so that nothing tells how updates were divided: %w; %s",
			ErrRefused, record.foreign, "make the stream with the NATS tools, or delete the key deployment/layout of the bucket of workers if the deployment is to begin with streams.partitions")
	}
	switch {
	case have != nil:
		if layout, err := layoutOf(t.subjects, have.Config); err == nil { // else what the stream has is refused
			d.stored = layout
		}
	case record.Move != nil:
		d.stored = record.Move.To
	case record.revision > 0:
		d.stored = record.Serving
	}
	return d, nil
}

// kept returns the change that is not made where the deployment has another number
// of partitions than the configuration, or is on its way to one.
func (t *Topology) kept(d division) []Change {
	reason := fmt.Sprintf("change it with router-worker topology repartition %d", t.config.Partitions)
	moving := d.move() != nil
	switch {
	case moving:
		reason = d.tell() + "; " + remedy(d.move().To.Partitions)
	case d.stored.Partitions == t.config.Partitions:
		return nil
	}
	return []Change{{
		Stream: t.subjects.UpdatesStream(), Action: Keep, Setting: "number of partitions",
		Have: strconv.Itoa(d.serving().Partitions), Want: strconv.Itoa(t.config.Partitions), Reason: reason, moving: moving,
	}}
}
