package stream

import (
	"slices"

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
	units []unit
	ends  []*partition // the partitions of the units, each once
	size  int          // messages, checkpoints included
	bytes int
	most  int // bytes, as groupBytes has them

	attempts int          // to commit the group, this one included
	batch    *atomicBatch // what has been sent of it in this attempt; nil where that is of no use any more
}

// take adds u where it fits and reports whether it did.
func (g *group) take(u unit) bool {
	size := len(u.messages)
	known := slices.Contains(g.ends, u.partition)
	if !known {
		size++
	}
	if g.size+size > maxBatchMessages {
		return false
	}
	if len(g.units) > 0 && g.bytes+u.bytes > g.most {
		return false
	}
	if !known {
		g.ends = append(g.ends, u.partition)
	}
	g.units = append(g.units, u)
	g.size += size
	g.bytes += u.bytes
	return true
}

// drop takes the units of a partition out and returns them. What has been sent
// of the group is of no use then.
func (g *group) drop(p *partition) []unit {
	if !slices.Contains(g.ends, p) {
		return nil
	}
	var dropped []unit
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
func (g *group) upTo(p *partition) position {
	for _, u := range slices.Backward(g.units) {
		if u.partition == p {
			return u.upTo
		}
	}
	return position{}
}

// checkpoints returns the checkpoints that end the batch, in the order of ends.
func (g *group) checkpoints(subjects wire.Subjects, worker string) []fencedCheckpoint {
	ends := make([]fencedCheckpoint, 0, len(g.ends))
	for _, p := range g.ends {
		ends = append(ends, fencedCheckpoint{
			subject:  p.id.checkpoint(subjects),
			data:     wire.AppendCheckpoint(nil, p.checkpoint(g.upTo(p), worker, g.id)),
			revision: p.newest.revision,
		})
	}
	return ends
}
