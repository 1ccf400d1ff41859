package routing

import "github.com/presence-router/presence-router/routing/presence"

// LongestChain returns how many states of a batch are compared with one at most until
// it is found.
func LongestChain(states []presence.UserState) int {
	c := newContents(states)
	for i := range states {
		c.add(i)
	}
	longest := 0
	for _, head := range c.heads {
		length := 0
		for i := head; i > 0; i = c.next[i-1] {
			length++
		}
		longest = max(longest, length)
	}
	return longest
}
