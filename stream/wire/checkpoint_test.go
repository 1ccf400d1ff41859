package wire_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func checkpoint() wire.Checkpoint {
	return wire.Checkpoint{
		Epoch:    1795370000000,
		Sequence: math.MaxUint64,
		Time:     time.Date(2026, 11, 22, 18, 39, 42, 366_999_999, time.UTC),
		Created:  time.Date(2026, 11, 22, 16, 13, 20, 5, time.UTC),
		Worker:   "worker-1",
		Commit:   "worker-1.77",
		After:    presence.MustUserID("@alice:example.com"),
	}
}

func TestCheckpointGolden(t *testing.T) {
	whole, none := checkpoint(), checkpoint()
	whole.After = presence.UserID{}
	open := whole
	open.Batch = "worker-1-78"
	open.Tail = wire.Tail{From: 4711, To: 4712, Sequence: math.MaxUint64, Time: open.Time}
	none.Sequence, none.Time, none.Epoch = 0, time.Time{}, 0
	tests := []struct {
		name string
		want wire.Checkpoint
	}{
		{"checkpoint.json", whole},
		{"checkpoint_slice.json", checkpoint()},
		{"checkpoint_none.json", none},
		{"checkpoint_open.json", open},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := wire.AppendCheckpoint(nil, tt.want)
			golden(t, tt.name, data)
			if got, err := wire.DecodeCheckpoint(data); err != nil || got != tt.want {
				t.Errorf("DecodeCheckpoint(%s) = %+v, %v, want %+v", data, got, err, tt.want)
			}
			if marshalled, err := json.Marshal(tt.want); err != nil || string(marshalled) != string(data) {
				t.Errorf("json.Marshal = %s, %v, want %s", marshalled, err, data)
			}
		})
	}
}

func TestAppendCheckpointWritesUTC(t *testing.T) {
	want := wire.AppendCheckpoint(nil, checkpoint())
	c := checkpoint()
	c.Time, c.Created = c.Time.In(time.FixedZone("", 7200)), c.Created.In(time.FixedZone("", -3600))
	if got := wire.AppendCheckpoint(nil, c); string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheckpointTakesTheLongestBatch(t *testing.T) {
	c := wire.Checkpoint{Created: time.Unix(1, 0), Worker: "w", Commit: "c", Batch: strings.Repeat("b", 64)}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate with a batch of 64 bytes = %v, want nil", err)
	}
	c.Batch += "b"
	checkMessage(t, c.Validate(), "want at most 64 bytes")
}

func TestDecodeCheckpointRefuses(t *testing.T) {
	const created, sequence = `"created":"2026-11-22T16:13:20Z"`, `"sequence":1`
	tests := []struct {
		name, data string
		message    []string
	}{
		{"no JSON", `[`, []string{"unexpected end"}},
		{"sequence missing", `{"epoch":1,` + created + `,"worker":"w","commit":"c"}`, []string{"sequence is missing"}},
		{"sequence negative", `{"sequence":-1}`, []string{"sequence"}},
		{"epoch missing", `{` + sequence + `,` + created + `,"worker":"w","commit":"c"}`, []string{"epoch is missing or -1, want at least 0"}},
		{"epoch negative", `{` + sequence + `,` + created + `,"epoch":-7,"worker":"w","commit":"c"}`, []string{"epoch is missing or -7"}},
		{"time", `{` + sequence + `,"time":"now"}`, []string{`"now"`}},
		{"after", `{` + sequence + `,"after":"alice"}`, []string{"alice", "does not start with @"}},
		{"batch", `{` + sequence + `,"epoch":1,` + created + `,"worker":"w","commit":"c","batch":"a.b"}`, []string{`batch is "a.b", want at most 64 bytes without . * > and white space`}},
		{"the rest missing", `{` + sequence + `,"epoch":1}`, []string{"created is missing", "worker is missing", "commit is missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeCheckpoint([]byte(tt.data))
			checkMessage(t, err, append(tt.message, "decode checkpoint: ")...)
		})
	}
	known := `{"epoch":1,` + sequence + `,` + created + `,"worker":"w","commit":"c","new":1}`
	if _, err := wire.DecodeCheckpoint([]byte(known)); err != nil {
		t.Errorf("an unknown field is refused: %v", err)
	}
}
