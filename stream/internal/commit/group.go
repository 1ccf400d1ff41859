package commit

import (
	"slices"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxGroupBytes bounds the data of one atomic batch, but for one unit alone.
const maxGroupBytes = 16 << 20

// groupBytes returns the bound that goes with a limit of the deliveries stream:
// what is larger than the limit would never be stored. Headers and subjects, which
// the stream counts too, may be larger than the data.
func groupBytes(limit int64) int {
	if limit <= 0 {
		return maxGroupBytes
	}
	return int(min(maxGroupBytes, limit/4))
}

// group is the units of one commit. Units of one partition are in order.
type group struct {
	id    string
	units []Unit
	ends  []*Partition // the partitions of the units, each once
	size  int          // messages, checkpoints included
	bytes int
	most  int // bytes, as groupBytes has them

	attempts int                  // to commit the group, this one included
	batch    *batchpublish.Atomic // what has been sent of it in this attempt; nil where that is of no use any more
}

// take adds u where it fits and reports whether it did.
func (g *group) take(u Unit) bool {
	size := len(u.Messages)
	known := slices.Contains(g.ends, u.partition)
	if !known {
		size++
	}
	if g.size+size > batchpublish.MaxMessages {
		return false
	}
	if len(g.units) > 0 && g.bytes+u.Bytes > g.most {
		return false
	}
	if !known {
		g.ends = append(g.ends, u.partition)
	}
	g.units = append(g.units, u)
	g.size += size
	g.bytes += u.Bytes
	return true
}

// drop takes the units of a partition out and returns them. What has been sent
// of the group is of no use then.
func (g *group) drop(p *Partition) []Unit {
	if !slices.Contains(g.ends, p) {
		return nil
	}
	var dropped []Unit
	units := g.units
	*g = group{id: g.id, attempts: g.attempts, most: g.most}
	for _, u := range units {
		if u.partition == p {
			dropped = append(dropped, u)
		} else {
			g.take(u)
		}
	}
	return dropped
}

// upTo returns the position that p has once the group is committed.
func (g *group) upTo(p *Partition) checkpoint.Position {
	for _, u := range slices.Backward(g.units) {
		if u.partition == p {
			return u.UpTo
		}
	}
	return checkpoint.Position{}
}

// checkpoints returns the checkpoints that end the batch, in the order of ends.
func (g *group) checkpoints(subjects wire.Subjects, worker string) []batchpublish.Fenced {
	ends := make([]batchpublish.Fenced, 0, len(g.ends))
	for _, p := range g.ends {
		ends = append(ends, batchpublish.Fenced{
			Subject:  p.id.Checkpoint(subjects),
			Data:     wire.AppendCheckpoint(nil, p.checkpoint(g.upTo(p), worker, g.id)),
			Revision: p.newest.Revision,
		})
	}
	return ends
}
