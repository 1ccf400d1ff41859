package checkpoint_test

import (
	"testing"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
)

// Made-up states are known by the unit that they end, and by their place in it.
func TestMadeUpStatesOfATail(t *testing.T) {
	t.Parallel()
	const madeUp = 2
	tests := []struct {
		name   string
		stored []uint64 // last updates of the units of the states that are stored, in order
		unit   uint64   // last update of the unit that is routed again
		left   int
	}{
		{"none", nil, 10, madeUp},
		{"the first", []uint64{10}, 10, 1},
		{"both", []uint64{10, 10}, 10, 0},
		{"the first, of a longer unit", []uint64{10}, 4, 0}, // The other one goes with the rest of that unit.
		{"both, of a shorter unit", []uint64{4, 4}, 10, madeUp},
		{"both of a shorter unit, then the first", []uint64{4, 4, 10}, 10, 1},
		{"the first, then one of a shorter unit", []uint64{10, 4}, 10, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := checkpoint.MadeUpRest(tt.stored, tt.unit, madeUp); got != tt.left {
				t.Errorf("%d of %d states are not stored, want %d", got, madeUp, tt.left)
			}
		})
	}
}
