package bench

import (
	"context"
	"slices"

	"github.com/presence-router/presence-router/stream/wire"
)

// backlog is the updates that wait for workers.
type backlog struct {
	total     int
	sequences [][]uint64 // of the updates of each partition, ascending
}

// publishBacklog stores n updates. On one connection they get the sequences from 1
// on, in order.
func (g *ground) publishBacklog(ctx context.Context, l *load, n int) (*backlog, error) {
	p, err := g.publishing()
	if err != nil {
		return nil, err
	}
	b := &backlog{total: n, sequences: make([][]uint64, l.workload.Partitions)}
	for i := range n {
		u := l.update(i)
		if err := p.publish(u.subject, u.data); err != nil {
			return nil, err
		}
		b.sequences[u.partition] = append(b.sequences[u.partition], uint64(i)+1)
	}
	return b, p.done(ctx)
}

// committed returns how many updates of a partition its checkpoint covers.
func (b *backlog) committed(partition int, c wire.Checkpoint) int {
	upTo := c.Sequence + 1
	if !c.After.IsZero() {
		upTo-- // That one is half done.
	}
	n, _ := slices.BinarySearch(b.sequences[partition], upTo)
	return n
}
