// Package assignment decides which worker has which partition. It is pure: every
// worker that knows the same comes to the same answer.
package assignment

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// Owners returns the owner of each partition: one of members, which are IDs
// without duplicates in any order. holders says by partition who has it now, ""
// or somebody who is no member where nobody does.
//
// Members get as many partitions as every other or one more. Holders keep what
// they have up to their share, so only what must move does: what nobody has, and
// what is more than a share. That goes to members below their share by rendezvous
// hashing. Partitions that have moved to the owner that Owners named do not change
// the answer for the others, so a handover that is half done goes on to the same
// end. Without members nobody owns anything.
func Owners(members, holders []string) []string {
	owners := make([]string, len(holders))
	if len(members) == 0 {
		return owners
	}
	held := holdings(members, holders)
	open := shares(held, len(holders))
	var free []int
	for partition, holder := range holders {
		if _, member := open[holder]; !member {
			free = append(free, partition)
		}
	}
	for _, m := range sorted(members) {
		keep := held[m]
		slices.SortFunc(keep, func(a, b int) int { return compareWeights(m, b, m, a) })
		kept := min(len(keep), open[m])
		for _, partition := range keep[:kept] {
			owners[partition] = m
		}
		free = append(free, keep[kept:]...)
		open[m] -= kept
	}
	slices.Sort(free)
	for _, partition := range free {
		m := heaviest(members, partition, open)
		owners[partition] = m
		open[m]--
	}
	return owners
}

// Preferred returns which of two workers that both say they have a partition is
// taken to have it.
func Preferred(a, b string, partition int) string {
	if compareWeights(a, partition, b, partition) >= 0 {
		return a
	}
	return b
}

// holdings returns the partitions that each member has.
func holdings(members, holders []string) map[string][]int {
	held := make(map[string][]int, len(members))
	for _, m := range members {
		held[m] = nil
	}
	for partition, holder := range holders {
		if _, member := held[holder]; member {
			held[holder] = append(held[holder], partition)
		}
	}
	return held
}

// shares returns how many partitions each member is to have. The ones left over by
// the division go to members that have more than the others' share already, and
// then in the order of IDs: a member that gives partitions away, or gets some,
// until it has its share stays on the same side of that line.
func shares(held map[string][]int, partitions int) map[string]int {
	least, more := partitions/len(held), partitions%len(held)
	order := make([]string, 0, len(held))
	for m := range held {
		order = append(order, m)
	}
	slices.SortFunc(order, func(a, b string) int {
		if over := len(held[a]) > least; over != (len(held[b]) > least) {
			if over {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	shares := make(map[string]int, len(held))
	for i, m := range order {
		shares[m] = least
		if i < more {
			shares[m]++
		}
	}
	return shares
}

// heaviest returns the member with the highest weight for a partition among those
// with a place open.
func heaviest(members []string, partition int, open map[string]int) string {
	best := ""
	for _, m := range members {
		if open[m] > 0 && (best == "" || compareWeights(m, partition, best, partition) > 0) {
			best = m
		}
	}
	return best
}

// compareWeights compares the rendezvous weights of two pairs of a member and a
// partition.
func compareWeights(a string, ofA int, b string, ofB int) int {
	return cmp.Or(cmp.Compare(weight(a, ofA), weight(b, ofB)), cmp.Compare(a, b), cmp.Compare(ofA, ofB))
}

// weight is FNV-1a-64 of partition and member, mixed so that members whose IDs
// differ in the last letter only get unrelated weights.
func weight(member string, partition int) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(strconv.AppendInt(nil, int64(partition), 10)) // a hash takes everything
	_, _ = sum.Write([]byte("/" + member))
	h := sum.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func sorted(members []string) []string { return slices.Sorted(slices.Values(members)) }
