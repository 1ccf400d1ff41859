package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

const lookInterval = 50 * time.Millisecond

// watchCheckpoints looks how far the partitions are committed, and tells each time
// one has moved.
func (s *show) watchCheckpoints(ctx context.Context, events chan<- event) error {
	name := s.subjects.DeliveriesStream()
	deliveries, err := s.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	seen := make(map[int]uint64)
	for {
		for partition := range s.config.Streams.Partitions {
			sequence, err := s.checkpoint(ctx, deliveries, partition)
			if err != nil {
				return err
			}
			if sequence == seen[partition] {
				continue
			}
			seen[partition] = sequence
			if err := tell(ctx, events, func() error { s.committed[partition] = sequence; return nil }); err != nil {
				return err
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkpoint returns the last update of a partition that is committed, 0 for none.
func (s *show) checkpoint(ctx context.Context, deliveries jetstream.Stream, partition int) (uint64, error) {
	m, err := deliveries.GetLastMsgForSubject(ctx, s.subjects.Checkpoint(partition))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the checkpoint of partition %d: %w", partition, err)
	}
	c, err := wire.DecodeCheckpoint(m.Data)
	return c.Sequence, err
}
