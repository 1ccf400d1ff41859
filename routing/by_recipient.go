package routing

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// byRecipient returns shares sorted by recipient. Most user IDs differ within the few
// bytes behind the prefix that all have in common: these bytes and the index of the
// share, in one number, sort faster than strings.
func byRecipient(shares []share) []*share {
	skip := commonPrefix(shares)
	index := uint64(1)<<bits.Len(uint(len(shares))) - 1 // the bits of a key that hold the index
	keys := make([]uint64, len(shares))
	for i := range shares {
		keys[i] = firstBytes(shares[i].recipient.String()[skip:])&^index | uint64(i)
	}
	slices.Sort(keys)
	sorted := make([]*share, len(shares))
	for i, key := range keys {
		sorted[i] = &shares[key&index]
	}
	for from := 0; from < len(keys); {
		to := from + 1
		for to < len(keys) && keys[to]&^index == keys[from]&^index {
			to++
		}
		slices.SortFunc(sorted[from:to], compareRecipients)
		from = to
	}
	return sorted
}

func compareRecipients(a, b *share) int { return a.recipient.Compare(b.recipient) }

// commonPrefix returns the length of what all recipients begin with.
func commonPrefix(shares []share) int {
	if len(shares) == 0 {
		return 0
	}
	prefix := shares[0].recipient.String()
	for i := range shares {
		for !strings.HasPrefix(shares[i].recipient.String(), prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return len(prefix)
}

// firstBytes returns the first eight bytes of s as a number that sorts as they do.
func firstBytes(s string) uint64 {
	var first [8]byte
	copy(first[:], s)
	return binary.BigEndian.Uint64(first[:])
}
