package static

import (
	"encoding/binary"

	"github.com/presence-router/presence-router/routing/presence"
)

// directory answers by user ID. Users who are in the same routes are one group
// and share an answer.
type directory[A any] struct {
	groups  map[presence.UserID]int32 // index in answers
	answers []A
}

// makeDirectory groups the users on one side of the routes and asks answer once
// per group, with the indexes of its routes in order.
func makeDirectory[A any](routes []Route, side func(Route) []presence.UserID, answer func(of []int32) A) directory[A] {
	byUser := routesByUser(routes, side)
	d := directory[A]{groups: make(map[presence.UserID]int32, len(byUser))}
	known := grouping{single: make([]int32, len(routes)), several: make(map[string]int32)}
	for user, of := range byUser {
		group, isNew := known.group(of, int32(len(d.answers))) //nolint:gosec // a file of 64 MiB cannot hold 2^31 users
		if isNew {
			d.answers = append(d.answers, answer(of))
		}
		d.groups[user] = group
	}
	return d
}

func routesByUser(routes []Route, side func(Route) []presence.UserID) map[presence.UserID][]int32 {
	byUser := make(map[presence.UserID][]int32, len(routes))
	for i, route := range routes {
		index := int32(i) // a file of 64 MiB cannot hold 2^31 routes
		for _, user := range side(route) {
			of := byUser[user]
			if len(of) == 0 || of[len(of)-1] != index {
				byUser[user] = append(of, index)
			}
		}
	}
	return byUser
}

// grouping numbers lists of route indexes. Most users are in one route, so those
// lists need no map.
type grouping struct {
	single  []int32 // by index of the only route: group + 1, 0 for none yet
	several map[string]int32
}

// group returns the number of the list, which is next where the list is new.
func (g *grouping) group(of []int32, next int32) (group int32, isNew bool) {
	if len(of) == 1 {
		if g.single[of[0]] == 0 {
			g.single[of[0]] = next + 1
			return next, true
		}
		return g.single[of[0]] - 1, false
	}
	key := keyOf(of)
	group, found := g.several[key]
	if !found {
		g.several[key] = next
		return next, true
	}
	return group, false
}

// keyOf makes a map key of the indexes.
func keyOf(of []int32) string {
	key := make([]byte, 0, 4*len(of))
	for _, i := range of {
		key = binary.LittleEndian.AppendUint32(key, uint32(i)) //nolint:gosec // an index is not negative
	}
	return string(key)
}

// answer returns the zero A for a user who is in no route.
func (d *directory[A]) answer(user presence.UserID) A {
	group, listed := d.groups[user]
	if !listed {
		var none A
		return none
	}
	return d.answers[group]
}
