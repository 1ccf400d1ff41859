package topology

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/wire"
)

// divided returns how updates are to be divided: as they are, and where the updates
// stream is missing, as they were. Only a deployment that is new gets the configured
// number of partitions.
func (t *Streams) divided(ctx context.Context) (deployment.Division, error) {
	have, err := t.existing(ctx, t.subjects.UpdatesStream())
	if err != nil {
		return deployment.Division{}, err
	}
	record, err := t.layouts.Record(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return deployment.Division{}, err
	}
	d := deployment.Division{Stored: wire.Layout{Partitions: t.config.Partitions}, Record: record}
	if have == nil && record.Foreign != nil {
		return deployment.Division{}, fmt.Errorf("%w: the updates stream is missing and the layout record is none, so that nothing tells how updates were divided: %w; %s",
			ErrRefused, record.Foreign, "make the stream with the NATS tools, or delete the key deployment/layout of the bucket of workers if the deployment is to begin with streams.partitions")
	}
	switch {
	case have != nil:
		if layout, err := deployment.LayoutOf(t.subjects, have.Config); err == nil { // else what the stream has is refused
			d.Stored = layout
		}
	case record.Move != nil:
		d.Stored = record.Move.To
	case record.Revision > 0:
		d.Stored = record.Serving
	}
	return d, nil
}

// kept returns the change that is not made where the deployment has another number
// of partitions than the configuration, or is on its way to one.
func (t *Streams) kept(d deployment.Division) []Change {
	reason := fmt.Sprintf("change it with router-worker topology repartition %d", t.config.Partitions)
	moving := d.Move() != nil
	switch {
	case moving:
		reason = d.Describe() + "; " + deployment.Remedy(d.Move().To.Partitions)
	case d.Stored.Partitions == t.config.Partitions:
		return nil
	}
	return []Change{{
		Stream: t.subjects.UpdatesStream(), Action: Keep, Setting: "number of partitions",
		Have: strconv.Itoa(d.Serving().Partitions), Want: strconv.Itoa(t.config.Partitions), Reason: reason, moving: moving,
	}}
}
