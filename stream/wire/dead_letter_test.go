package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/wire"
)

func deadLetter() wire.DeadLetter {
	return wire.DeadLetter{
		Reason:   wire.RouterFailed,
		Error:    "ask router \"static\": context deadline exceeded",
		Router:   "static",
		Subject:  "presence.update.example%2Ecom.bob",
		Sequence: 42,
		Time:     time.Date(2026, 11, 22, 18, 39, 42, 366_999_999, time.FixedZone("", 3600)),
		Headers:  map[string][]string{"Traceparent": {"00-1-2-01"}, "A": {"1", "2"}, "Nats-Msg-Id": {"x"}},
		Payload:  []byte(fullUpdate),
	}
}

func TestDeadLetterGolden(t *testing.T) {
	golden(t, "dead_letter.json", deadLetter().Encode(math.MaxInt))
	golden(t, "dead_letter_truncated.json", deadLetter().Encode(400))
	golden(t, "dead_letter_smallest.json", wire.DeadLetter{Reason: wire.Malformed}.Encode(1<<20))
}

func TestDeadLetterRoundTrip(t *testing.T) {
	want := deadLetter()
	got, err := wire.DecodeDeadLetter(want.Encode(1 << 20))
	if err != nil {
		t.Fatal(err)
	}
	if want.Time = want.Time.UTC().Truncate(time.Millisecond); !got.Time.Equal(want.Time) {
		t.Errorf("time is %s, want %s", got.Time, want.Time)
	}
	if got.Time = want.Time; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	marshalled, err := json.Marshal(deadLetter())
	if err != nil || !bytes.Equal(marshalled, deadLetter().Encode(math.MaxInt)) {
		t.Errorf("json.Marshal = %s, %v, want what Encode returns", marshalled, err)
	}
}

func TestDeadLetterFits(t *testing.T) {
	long := strings.Repeat("é\x01", 5000)
	tests := []struct {
		name   string
		change func(*wire.DeadLetter)
	}{
		{"long payload", func(d *wire.DeadLetter) { d.Payload = bytes.Repeat([]byte("x"), 100_000) }},
		{"long header", func(d *wire.DeadLetter) { d.Headers["Long"] = []string{long} }},
		{"many headers", func(d *wire.DeadLetter) {
			for i := range 1000 {
				d.Headers[fmt.Sprintf("H%d", i)] = []string{"value"}
			}
		}},
		{"long error", func(d *wire.DeadLetter) { d.Error = long }},
		{"long subject", func(d *wire.DeadLetter) { d.Subject = long }},
		{"long router", func(d *wire.DeadLetter) { d.Router = long }},
		{"everything", func(d *wire.DeadLetter) {
			d.Error, d.Subject, d.Router, d.Payload = long, long, long, []byte(long)
			d.Headers["Long"] = []string{long}
		}},
	}
	for _, tt := range tests {
		for _, maxBytes := range []int{256, 257, 258, 259, 512, 1024, 4096} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, maxBytes), func(t *testing.T) {
				letter := deadLetter()
				tt.change(&letter)
				data := letter.Encode(maxBytes)
				got, err := wire.DecodeDeadLetter(data)
				if err != nil || len(data) > maxBytes || !got.Truncated || got.Reason != letter.Reason || got.Sequence != letter.Sequence {
					t.Errorf("%d bytes, at most %d are allowed: %s, %v", len(data), maxBytes, data, err)
				}
				if !bytes.HasPrefix(letter.Payload, got.Payload) {
					t.Errorf("payload %q is no beginning of %q", got.Payload, letter.Payload)
				}
			})
		}
	}
}

func TestDeadLetterKeepsWhatFits(t *testing.T) {
	letter := deadLetter()
	letter.Headers["Long"] = []string{strings.Repeat("x", 10_000)}
	got, err := wire.DecodeDeadLetter(letter.Encode(2048))
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Payload) != fullUpdate || got.Headers["Traceparent"] == nil || got.Headers["Long"] != nil || got.Error != letter.Error {
		t.Errorf("a long header alone was to be left out, got %+v", got)
	}
	letter.Payload = bytes.Repeat([]byte("x"), 10_000)
	data := letter.Encode(2048)
	if len(data) < 2048-8 {
		t.Errorf("%d bytes, want the payload to fill 2048", len(data))
	}
}

// A letter is cut only if it has to be, and no more than it has to.
func TestDeadLetterIsCutAtItsBound(t *testing.T) {
	letter := deadLetter()
	whole := letter.Encode(math.MaxInt)
	if got := letter.Encode(len(whole)); !bytes.Equal(got, whole) {
		t.Errorf("%d bytes of room for as many, and got %s", len(whole), got)
	}
	wantTruncated(t, letter, len(whole)-1)

	texts := letter
	texts.Headers, texts.Payload, texts.Truncated = nil, nil, true
	bare := len(texts.Encode(math.MaxInt))
	if got := wantTruncated(t, letter, bare); got.Error != letter.Error || got.Subject != letter.Subject || got.Router != letter.Router {
		t.Errorf("%d bytes of room for the texts, and got %+v", bare, got)
	}
	if got := wantTruncated(t, letter, bare-1); got.Error == letter.Error || got.Subject != letter.Subject {
		t.Errorf("a byte less than room for the texts, and got %+v, want a shorter error alone", got)
	}

	letter.Headers = map[string][]string{"Traceparent": {"00-1-2-01"}}
	room := bare + 4*len(`"Traceparent":["00-1-2-01"],`) // a quarter of what the texts leave
	if got := wantTruncated(t, letter, room); len(got.Headers) != 1 {
		t.Errorf("room for the header, and got %+v", got)
	}
	if got := wantTruncated(t, letter, room-1); len(got.Headers) != 0 {
		t.Errorf("a byte less than room for the header, and got %+v", got)
	}
}

// wantTruncated returns what letter is in at most maxBytes.
func wantTruncated(t *testing.T, letter wire.DeadLetter, maxBytes int) wire.DeadLetter {
	t.Helper()
	data := letter.Encode(maxBytes)
	got, err := wire.DecodeDeadLetter(data)
	if err != nil || !got.Truncated || len(data) > maxBytes {
		t.Errorf("encoded in %d bytes is %s, %v, want a letter that is truncated", maxBytes, data, err)
	}
	return got
}

func TestDecodeDeadLetterRefuses(t *testing.T) {
	tests := []struct{ name, data, message string }{
		{"no JSON", `{`, "decode dead letter"},
		{"no reason", `{"sequence":1}`, "reason is missing"},
		{"payload", `{"reason":"malformed","payload":"%"}`, "base64"},
		{"time", `{"reason":"malformed","time":"yesterday"}`, "yesterday"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeDeadLetter([]byte(tt.data))
			checkMessage(t, err, tt.message)
		})
	}
}
