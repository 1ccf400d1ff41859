package checkpoint

import (
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// MadeUpRest returns how many of n states, made up for one recipient in a unit up to the
// update last, are not in a tail that has one for each of stored, the last updates of units.
func MadeUpRest(stored []uint64, last uint64, n int) int {
	to := presence.MustUserID("@reader:example.com")
	t := &Tail{given: make(map[presence.UserID]given)}
	for _, unit := range stored {
		t.add(wire.ReceivedDelivery{Delivery: wire.Delivery{Recipient: to}, Sequences: []uint64{0}}, unit)
	}
	return len(t.Rest(to, make([]presence.UserState, n), last))
}
