package commit //nolint:testpackage // Exports what a commit holds to the tests.

import (
	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/claim"
	"github.com/presence-router/presence-router/stream/internal/deployment"
)

// MaxBatchMessages is how many messages a commit has at most.
const MaxBatchMessages = batchpublish.MaxMessages

// GroupUnit is a unit of a commit.
type GroupUnit struct {
	Partition int
	UpTo      uint64 // update that the partition has reached once the unit is committed
	Messages  int
	Bytes     int
}

// Group is the units of one commit.
type Group struct {
	g          *group
	partitions map[int]*Partition
}

// NewGroup returns the group of an attempt that something was sent of already, with a
// bound on its bytes.
func NewGroup(most int) Group {
	return Group{&group{id: "id", attempts: 2, most: most, batch: new(batchpublish.Atomic)}, make(map[int]*Partition)}
}

// Take adds u if it fits and reports whether it did.
func (g Group) Take(u GroupUnit) bool {
	p := g.partitions[u.Partition]
	if p == nil {
		p = newPartition(claim.Claim{Partition: deployment.Partition{Number: u.Partition}}, nil, func(error) {})
		g.partitions[u.Partition] = p
	}
	return g.g.take(Unit{partition: p, Messages: make([]batchpublish.Message, u.Messages), Bytes: u.Bytes, UpTo: checkpoint.Position{Sequence: u.UpTo}})
}

// Drop takes the units of a partition out and returns them.
func (g Group) Drop(partition int) []GroupUnit { return groupUnits(g.g.drop(g.partitions[partition])) }

// Units returns the units of the group.
func (g Group) Units() []GroupUnit { return groupUnits(g.g.units) }

// Ends returns the partitions that the group has checkpoints of.
func (g Group) Ends() []int {
	var found []int
	for _, p := range g.g.ends {
		found = append(found, p.id.Number)
	}
	return found
}

// UpTo returns the update that a partition has reached once the group is committed.
func (g Group) UpTo(partition int) uint64 { return g.g.upTo(g.partitions[partition]).Sequence }

// Messages returns how many messages the group has, checkpoints included.
func (g Group) Messages() int { return g.g.size }

// Begun reports whether it is still the attempt that something was sent of.
func (g Group) Begun() bool { return g.g.batch != nil }

// Named reports whether the group has the ID and the number of attempts that it began with.
func (g Group) Named() bool { return g.g.id == "id" && g.g.attempts == 2 }

func groupUnits(units []Unit) []GroupUnit {
	var found []GroupUnit
	for _, u := range units {
		found = append(found, GroupUnit{u.partition.id.Number, u.UpTo.Sequence, len(u.Messages), u.Bytes})
	}
	return found
}
