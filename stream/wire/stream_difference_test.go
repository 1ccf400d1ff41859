package wire_test

import (
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

func TestStreamDifference(t *testing.T) {
	t.Parallel()
	base := wire.StreamDifference{Setting: "replicas", Have: "3", Configured: "1", Streams: []string{"A", "B"}}
	tests := []struct {
		name         string
		change       func(*wire.StreamDifference)
		alike, equal bool
	}{
		{"the same", func(*wire.StreamDifference) {}, true, true},
		{"of other streams", func(d *wire.StreamDifference) { d.Streams = []string{"A"} }, true, false},
		{"another setting", func(d *wire.StreamDifference) { d.Setting = "max_age" }, false, false},
		{"another value", func(d *wire.StreamDifference) { d.Have = "5" }, false, false},
		{"configured otherwise", func(d *wire.StreamDifference) { d.Configured = "5" }, false, false},
		{"nothing alike", func(d *wire.StreamDifference) { d.Setting, d.Have, d.Configured = "", "", "" }, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			other := base
			tt.change(&other)
			if alike, equal := base.Alike(other), base.Equal(other); alike != tt.alike || equal != tt.equal {
				t.Errorf("Alike = %t, Equal = %t, want %t and %t", alike, equal, tt.alike, tt.equal)
			}
		})
	}
}
