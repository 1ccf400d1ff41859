package wire_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/wire"
)

func TestParseUpdateTransform(t *testing.T) {
	s := subjects(t)
	for _, want := range []wire.Layout{{Partitions: 16}, {Partitions: 1}, {Generation: 1, Partitions: 256}, {Generation: 40, Partitions: 8}} {
		transform := s.In(want.Generation).UpdateTransform(want.Partitions)
		if got, err := s.ParseUpdateTransform(transform); err != nil || got != want {
			t.Errorf("ParseUpdateTransform(%q) = %v, %v, want %v", transform, got, err, want)
		}
	}
}

func TestParseUpdateTransformRefuses(t *testing.T) {
	s := subjects(t)
	tests := []struct{ name, transform string }{
		{"empty", ""},
		{"other prefix", "other.update.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"no partition", "presence.update.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"other tokens", "presence.update.{{partition(16,2,1)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"other order", "presence.update.{{partition(16,1,2)}}.{{wildcard(2)}}.{{wildcard(1)}}"},
		{"no partitions", "presence.update.{{partition(0,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"no number", "presence.update.{{partition(x,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"no subject of ours", "-g5.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"cut off", "presence.update.{{partition(16"},
		{"generation without its mark", "presence.update5.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
		{"generation 0 spelled out", "presence.update-g0.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.ParseUpdateTransform(tt.transform)
			checkMessage(t, err, "parse transform", "want presence.update.{{partition(<partitions>,1,2)}}")
		})
	}
}

func TestLayoutRecord(t *testing.T) {
	at := time.Date(2026, 11, 24, 23, 0, 0, 123, time.UTC)
	tests := []struct {
		name   string
		record wire.LayoutRecord
	}{
		{"no move", wire.LayoutRecord{Serving: wire.Layout{Generation: 3, Partitions: 8}}},
		{"of the least", wire.LayoutRecord{
			Serving: wire.Layout{Partitions: 1},
			Move:    &wire.LayoutMove{To: wire.Layout{Generation: 1, Partitions: 1}, Created: at, Replicas: 1},
		}},
		{"move", wire.LayoutRecord{
			Serving: wire.Layout{Partitions: 16},
			Move:    &wire.LayoutMove{To: wire.Layout{Generation: 1, Partitions: 24}, Sequence: 17, Time: at, Created: at, Replicas: 3},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := tt.record.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := wire.DecodeLayoutRecord(data); err != nil || !reflect.DeepEqual(got, tt.record) {
				t.Errorf("DecodeLayoutRecord(%s) = %+v, %v, want %+v", data, got, err, tt.record)
			}
		})
	}
}

func TestLayoutRecordRefuses(t *testing.T) {
	tests := []struct{ name, data, message string }{
		{"no JSON", `x`, "decode layout record: "},
		{"heartbeat", `{"worker":"w1","partitions":[1]}`, "serving.partitions is missing or 0"},
		{"negative generation", `{"serving":{"generation":-1,"partitions":1}}`, "serving.generation is -1"},
		{"move to no partitions", `{"serving":{"partitions":1},"move":{"to":{"generation":1}}}`, "move.to.partitions is missing or 0"},
		{"move back", `{"serving":{"generation":2,"partitions":1},"move":{"to":{"generation":2,"partitions":3}}}`, "move.to.generation is 2"},
		{"move of no replicas", `{"serving":{"partitions":1},"move":{"to":{"generation":1,"partitions":3},"created":"2026-11-24T23:00:00Z"}}`, "move.replicas is missing or 0, want at least 1"},
		{"move out of nothing", `{"serving":{"partitions":1},"move":{"to":{"generation":1,"partitions":3}}}`, "move.created is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeLayoutRecord([]byte(tt.data))
			checkMessage(t, err, tt.message)
		})
	}
}
