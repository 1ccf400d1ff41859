package routing

import (
	"hash/maphash"
	"math/bits"

	"github.com/presence-router/presence-router/routing/presence"
)

// contents finds states of a batch by what they say. It is a hash table with chains:
// a map, whose keys would be whole states, costs several times as much.
type contents struct {
	states []presence.UserState
	seed   maphash.Seed
	factor uint64 // odd, of the seed
	heads  []int  // by hash: index + 1 of the first state in the chain, 0 for none
	next   []int  // by index: index + 1 of the next state in the chain, 0 for none
}

func newContents(states []presence.UserState) contents {
	chains := 1 << bits.Len(uint(len(states))) // more than states
	table := make([]int, chains+len(states))
	seed := maphash.MakeSeed()
	return contents{states: states, seed: seed, factor: maphash.String(seed, "factor") | 1, heads: table[:chains:chains], next: table[chains:]}
}

// add adds states[i], unless a state that says the same is there already, and returns
// the index of the one that is there.
func (c *contents) add(i int) int {
	head := c.chain(&c.states[i])
	if same := c.findIn(head, &c.states[i]); same >= 0 {
		return same
	}
	*head, c.next[i] = i+1, *head
	return i
}

// find returns the index of the state that says the same as s, -1 where there is none.
func (c *contents) find(s *presence.UserState) int { return c.findIn(c.chain(s), s) }

func (c *contents) findIn(head *int, s *presence.UserState) int {
	for i := *head; i > 0; i = c.next[i-1] {
		if c.states[i-1].Same(*s) {
			return i - 1
		}
	}
	return -1
}

// chain returns the chain of s. The states of a chain may differ in the fields that
// have few values: those are left out.
func (c *contents) chain(s *presence.UserState) *int {
	hash := maphash.String(c.seed, s.UserID.String())
	for _, of := range [...]uint64{
		maphash.String(c.seed, s.StatusMsg.Text),
		uint64(s.LastActive), uint64(s.LastFederationUpdate), uint64(s.LastUserSync), //nolint:gosec // any bits will do
	} {
		high, low := bits.Mul64(hash^of, c.factor)
		hash = high ^ low
	}
	return &c.heads[hash&uint64(len(c.heads)-1)] //nolint:gosec // there is one chain at least
}
