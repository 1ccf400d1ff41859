package wire_test

import (
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// TestAllocations holds what is done for each update and each delivery to its budget.
func TestAllocations(t *testing.T) {
	s := subjects(t)
	update := []byte(fullUpdate)
	user := presence.MustUserID("@jo.ann:matrix.org:8448")
	delivery := wire.Delivery{Recipient: user, Epoch: 1795370000000, States: []presence.UserState{decode(t, fullUpdate, 17)}}
	dst := make([]byte, 0, 4096)
	for _, tt := range []struct {
		name string
		want float64
		do   func()
	}{
		{"DecodeUpdate", 3, func() { _, _ = wire.DecodeUpdate(update, 1, maxUpdateBytes) }}, // user ID, text, and the update itself
		{"NamesUser", 0, func() { s.NamesUser("presence.update.3.matrix%2Eorg%3A8448.jo%2Eann", user) }},
		{"AppendDelivery", 0, func() { dst = wire.AppendDelivery(dst[:0], delivery) }},
		{"AppendDelivery of a subject", 0, func() { dst = s.AppendDelivery(dst[:0], wire.Local, 7, user) }},
		{"Delivery of a subject", 1, func() { s.Delivery(wire.Local, 7, user) }},
		{"Shard", 0, func() { wire.Shard(wire.Local, user, 16) }},
		{"AppendCheckpoint", 0, func() { dst = wire.AppendCheckpoint(dst[:0], wire.Checkpoint{Worker: "w", Commit: "w-1"}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(100, tt.do); got > tt.want && !raceDetector {
				t.Errorf("%.0f allocations, at most %.0f are in order", got, tt.want)
			}
		})
	}
}
