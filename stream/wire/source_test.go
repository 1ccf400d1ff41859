package wire_test

import (
	"math"
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

func TestSource(t *testing.T) {
	tests := []struct {
		name   string
		source wire.Source
		want   string
	}{
		{"range", wire.Source{Partition: 3, First: 17, Last: 42}, "3/17-42"},
		{"one update", wire.Source{Partition: 0, First: 5, Last: 5}, "0/5-5"},
		{"largest", wire.Source{Partition: 255, First: 1, Last: math.MaxUint64}, "255/1-18446744073709551615"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.source.String(); got != tt.want {
				t.Errorf("%#v is %q, want %q", tt.source, got, tt.want)
			}
			if got, err := wire.ParseSource(tt.want); err != nil || got != tt.source {
				t.Errorf("ParseSource(%q) = %#v, %v, want %#v", tt.want, got, err, tt.source)
			}
		})
	}
}

func TestParseSourceRefuses(t *testing.T) {
	for _, value := range []string{"", "3", "3/17", "/17-42", "3/42-17", "x/1-2", "3/1-2-3", "3/-2", "3/1-18446744073709551616"} {
		_, err := wire.ParseSource(value)
		checkMessage(t, err, "Presence-Source", `"`+value+`"`, "want <partition>/<first>-<last>")
	}
}
