package routing

import (
	"iter"
	"math/bits"
)

// indexSet is a set of indexes into a batch, one bit each.
type indexSet []uint64

func newIndexSet(n int) indexSet { return make(indexSet, (n+63)/64) }

func (s indexSet) add(i int)    { s[i/64] |= 1 << (i % 64) }
func (s indexSet) remove(i int) { s[i/64] &^= 1 << (i % 64) }
func (s indexSet) clear()       { clear(s) }

// span returns the smallest range that holds the indexes, and how many there are.
func (s indexSet) span() (begin, end, count int) {
	begin = len(s) * 64
	for word, set := range s {
		if set == 0 {
			continue
		}
		begin = min(begin, word*64+bits.TrailingZeros64(set))
		end = word*64 + bits.Len64(set)
		count += bits.OnesCount64(set)
	}
	return begin, end, count
}

// all yields the indexes in ascending order.
func (s indexSet) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for word, set := range s {
			for ; set != 0; set &= set - 1 {
				if !yield(word*64 + bits.TrailingZeros64(set)) {
					return
				}
			}
		}
	}
}
