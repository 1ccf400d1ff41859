package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// layout returns the layout that updates are to be stored in: the one that they
// are, and where the updates stream is missing, the one that they were. Only a
// deployment that is new gets the configured number of partitions.
func (t *Topology) layout(ctx context.Context) (wire.Layout, error) {
	fresh := wire.Layout{Partitions: t.config.Partitions}
	have, err := t.existing(ctx, t.subjects.UpdatesStream())
	if err != nil {
		return wire.Layout{}, err
	}
	if have != nil {
		if layout, err := layoutOf(t.subjects, *have); err == nil {
			return layout, nil
		}
		return fresh, nil // which refuses what the stream has
	}
	record, revision, err := t.layouts.record(ctx)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fresh, nil
	case err != nil:
		return wire.Layout{}, err
	case revision == 0:
		return fresh, nil
	case record.Move != nil:
		return record.Move.To, nil
	default:
		return record.Serving, nil
	}
}

// kept returns the change that is not made where the deployment has another number
// of partitions than the configuration.
func (t *Topology) kept(layout wire.Layout) []Change {
	if layout.Partitions == t.config.Partitions {
		return nil
	}
	return []Change{{
		Stream: t.subjects.UpdatesStream(), Action: Keep, Setting: "number of partitions",
		Have: strconv.Itoa(layout.Partitions), Want: strconv.Itoa(t.config.Partitions),
		Reason: fmt.Sprintf("change it with router-worker topology repartition %d", t.config.Partitions),
	}}
}
