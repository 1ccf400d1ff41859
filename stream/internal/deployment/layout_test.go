package deployment_test

import (
	"testing"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/wire"
)

// Workers serve the layout before until a change has ended, also where updates are stored
// in the new one and wait.
func TestLayoutThatIsServed(t *testing.T) {
	t.Parallel()
	before, after, other := wire.Layout{Generation: 1, Partitions: 4}, wire.Layout{Generation: 2, Partitions: 6}, wire.Layout{Generation: 7, Partitions: 3}
	change := wire.LayoutRecord{Serving: before, Move: &wire.LayoutMove{To: after}}
	tests := []struct {
		name            string
		stored, want    wire.Layout
		record          wire.LayoutRecord
		underWay, waits bool
	}{
		{"no record", other, other, wire.LayoutRecord{}, false, false},
		{"no change", before, before, wire.LayoutRecord{Serving: before}, false, false},
		{"a change that is recorded", before, before, change, true, false},
		{"a change that updates wait for", after, before, change, true, true},
		{"a change that has ended", after, after, wire.LayoutRecord{Serving: after}, false, false},
		{"a change of a stream that is gone", other, other, change, false, false},
		{"a change of the first layout", wire.Layout{Partitions: 4}, wire.Layout{Partitions: 4}, change, false, false},
		{"a change from another number", wire.Layout{Generation: 1, Partitions: 6}, wire.Layout{Generation: 1, Partitions: 6}, change, false, false},
		{"a change to another number", wire.Layout{Generation: 2, Partitions: 4}, wire.Layout{Generation: 2, Partitions: 4}, change, false, false},
	}
	for _, tt := range tests {
		d := deployment.Division{Stored: tt.stored, Record: deployment.Record{LayoutRecord: tt.record}}
		if got := d.Serving(); got != tt.want {
			t.Errorf("%s: workers serve %v, want %v", tt.name, got, tt.want)
		}
		if underWay, waits := d.Move() != nil, d.Waits(); underWay != tt.underWay || waits != tt.waits {
			t.Errorf("%s: it is under way %t, and updates wait %t, want %t, %t", tt.name, underWay, waits, tt.underWay, tt.waits)
		}
	}
}
