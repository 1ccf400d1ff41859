package wire_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/wire"
)

func heartbeat() wire.Heartbeat {
	return wire.Heartbeat{
		Worker: "w1", Instance: "ABC", Version: "v1.2.3", ConfigHash: "0123456789ab",
		Started: time.Date(2026, 11, 24, 12, 0, 0, 5, time.UTC), Beat: 7, TTL: 3000, Partitions: []int{0, 5}, Claims: []uint64{17, 0}, Updates: 12.5, Deliveries: 30,
		Rates: []float64{0, 12.5},
	}
}

func TestHeartbeatRoundTrip(t *testing.T) {
	t.Parallel()
	want := heartbeat()
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"worker":"w1","instance":"ABC","version":"v1.2.3","config_hash":"0123456789ab","started":"2026-11-24T12:00:00.000000005Z",` +
		`"beat":7,"ttl_ms":3000,"partitions":[0,5],"claims":[17,0],"updates_per_second":12.5,"deliveries_per_second":30,"partition_updates_per_second":[0,12.5]}`
	if string(data) != text {
		t.Errorf("encoded is %s, want %s", data, text)
	}
	got, err := wire.DecodeHeartbeat(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded is %+v, %v, want %+v", got, err, want)
	}
}

func TestHeartbeatHasTimesInUTC(t *testing.T) {
	t.Parallel()
	h := heartbeat()
	h.Started = h.Started.In(time.FixedZone("", 3600))
	h.LastLost = h.Started
	data, err := h.Encode()
	if err != nil || strings.Count(string(data), `"2026-11-24T12:00:00.000000005Z"`) != 2 {
		t.Errorf("encoded is %s, %v, want both times in UTC", data, err)
	}
}

func TestHeartbeatWithoutRates(t *testing.T) {
	t.Parallel()
	h := heartbeat()
	h.Rates = nil
	if err := h.Validate(); err != nil {
		t.Errorf("Validate of a heartbeat without rates = %v, want nil", err)
	}
	if got := h.Lifetime(); got != 3*time.Second {
		t.Errorf("Lifetime is %v, want 3s", got)
	}
}

func TestHeartbeatTellsOfStreams(t *testing.T) {
	t.Parallel()
	want := heartbeat()
	want.StreamsDiffer = []wire.StreamDifference{{Setting: "replicas", Have: "3", Configured: "1", Streams: []string{"A", "B"}}}
	data, err := want.Encode()
	const text = `,"streams_differ":[{"setting":"replicas","have":"3","configured":"1","streams":["A","B"]}]}`
	if err != nil || !strings.HasSuffix(string(data), text) {
		t.Errorf("encoded is %s, %v, want it to end in %s", data, err, text)
	}
	got, err := wire.DecodeHeartbeat(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded is %+v, %v, want %+v", got, err, want)
	}
}

func TestHeartbeatOfNoPartitions(t *testing.T) {
	t.Parallel()
	h := heartbeat()
	h.Partitions, h.Claims, h.Rates, h.Leaving = nil, nil, nil, true
	data, err := h.Encode()
	if err != nil || !strings.Contains(string(data), `"leaving":true,"partitions":[],"claims":[]`) {
		t.Errorf("encoded is %s, %v, want an empty list of partitions", data, err)
	}
}

func TestDecodeHeartbeatRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, data, want string }{
		{"no JSON", `x`, "decode heartbeat: "},
		{"no worker", `{"instance":"i","ttl_ms":1}`, "worker is missing"},
		{"no instance", `{"worker":"w","ttl_ms":1}`, "instance is missing"},
		{"no ttl", `{"worker":"w","instance":"i"}`, "ttl_ms is 0, want at least 1"},
		{"rates of other partitions", `{"worker":"w","instance":"i","ttl_ms":1,"partitions":[1,2],"claims":[1,2],"partition_updates_per_second":[1]}`, "partition_updates_per_second has 1 entries, want one for each of 2 partitions"},
		{"no claims", `{"worker":"w","instance":"i","ttl_ms":1,"partitions":[1]}`, "claims holds 0 sequences, want one for each of 1 partitions"},
		{"bad generation", `{"worker":"w","instance":"i","ttl_ms":1,"generation":-1}`, "generation is -1, want at least 0"},
		{"bad partition", `{"worker":"w","instance":"i","ttl_ms":1,"partitions":[-1],"claims":[0]}`, "partitions holds -1, want at least 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := wire.DecodeHeartbeat([]byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("DecodeHeartbeat(%s) = %v, want %s", tt.data, err, tt.want)
			}
		})
	}
}

func TestHeartbeatAfter(t *testing.T) {
	t.Parallel()
	base := heartbeat()
	next, restarted, twin := base, base, base
	next.Beat++
	restarted.Instance, restarted.Started, restarted.Beat = "AAA", base.Started.Add(time.Second), 1
	twin.Instance = "ABD"
	tests := []struct {
		name            string
		a, b            wire.Heartbeat
		after, replaces bool
	}{
		{"next beat", next, base, true, false},
		{"same beat", base, base, false, false},
		{"earlier beat", base, next, false, false},
		{"restarted", restarted, next, true, true},
		{"before the restart", next, restarted, false, false},
		{"started at the same moment", twin, base, true, true},
		{"started at the same moment, lesser ID", base, twin, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.a.After(tt.b) != tt.after || tt.a.Replaces(tt.b) != tt.replaces {
				t.Errorf("After is %v, Replaces %v, want %v, %v", tt.a.After(tt.b), tt.a.Replaces(tt.b), tt.after, tt.replaces)
			}
		})
	}
}
