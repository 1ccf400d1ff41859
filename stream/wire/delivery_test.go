package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// mixedDelivery has a state as published, one altered and one made up.
func mixedDelivery(tb testing.TB) wire.Delivery {
	tb.Helper()
	published := decode(tb, fullUpdate, 17)
	altered := decode(tb, `{"user_id":"@jo.ann:somewhere.org","state":"online","x":1}`, 42)
	altered.StatusMsg = presence.Status("away")
	return wire.Delivery{
		Recipient: presence.MustUserID("@alice:example.com"),
		Epoch:     1795370000000,
		States:    []presence.UserState{published, altered, {UserID: presence.MustUserID("@system:example.com"), State: presence.Online}},
	}
}

func TestAppendDeliveryGolden(t *testing.T) {
	d := mixedDelivery(t)
	tests := []struct {
		name     string
		delivery wire.Delivery
	}{
		{"delivery_mixed.json", d},
		{"delivery_one.json", wire.Delivery{Recipient: d.Recipient, Epoch: d.Epoch, States: d.States[:1]}},
		{"delivery_empty.json", wire.Delivery{Recipient: presence.MustUserID(`@a"☕:b`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := wire.AppendDelivery(nil, tt.delivery)
			var compact bytes.Buffer
			if err := json.Compact(&compact, got); err != nil || !bytes.Equal(compact.Bytes(), got) {
				t.Errorf("%s is not compact JSON: %v", got, err)
			}
			golden(t, tt.name, got)
		})
	}
}

func TestDecodeDelivery(t *testing.T) {
	want := mixedDelivery(t)
	data := wire.AppendDelivery(nil, want)
	got, err := wire.DecodeDelivery(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Recipient != want.Recipient || got.Epoch != want.Epoch || !slices.Equal(got.Sequences, []uint64{17, 42, 0}) {
		t.Errorf("got %s, %d, %v", got.Recipient, got.Epoch, got.Sequences)
	}
	if string(got.RawStates[0]) != fullUpdate {
		t.Errorf("raw state is %s, want the update as published", got.RawStates[0])
	}
	for i, state := range got.States {
		if !state.Same(want.States[i]) || state.Published().Position != got.Sequences[i] {
			t.Errorf("states[%d] is %+v at %d, want %+v", i, state, state.Published().Position, want.States[i])
		}
	}
	if again := wire.AppendDelivery(nil, got.Delivery); !bytes.Equal(again, data) {
		t.Errorf("encoded again: %s, want %s", again, data)
	}
}

func TestDecodeDeliveryIsLenient(t *testing.T) {
	tests := []struct{ name, data string }{
		{"unknown field", `{"recipient":"@a:b","epoch":1,"sequences":[],"states":[],"version":{"a":[2]}}`},
		{"other order and whitespace", "{ \"states\" : [ ] , \"sequences\" : [\n] , \"epoch\" : 1 , \"recipient\" : \"@a:b\" }\n"},
		{"deepest state", `{"recipient":"@a:b","epoch":1,"sequences":[1],"states":[{"user_id":"@a:b","state":"busy","x":` +
			strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}]}`},
		{"whitespace around elements", `{"recipient":"@a:b","epoch":1,"sequences":[ 1 , 2 ],"states":[ {"user_id":"@a:b","state":"busy"} , {"user_id":"@a:b","state":"busy"} ]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeDelivery([]byte(tt.data))
			if err != nil || got.Epoch != 1 || got.Recipient.String() != "@a:b" || len(got.States) != len(got.Sequences) {
				t.Errorf("DecodeDelivery(%s) = %+v, %v", tt.data, got, err)
			}
		})
	}
}

func TestDecodeDeliveryRefuses(t *testing.T) {
	state := `{"user_id":"@a:b","state":"busy"}`
	tests := []struct {
		name, data string
		message    []string
	}{
		{"no JSON", `{"recipient"`, []string{"byte 12: want a colon"}},
		{"trailing data", `{}{}`, []string{"want nothing after the object"}},
		{"recipient missing", `{"epoch":1,"sequences":[],"states":[]}`, []string{"recipient is missing"}},
		{"recipient null", `{"recipient":null,"epoch":1,"sequences":[],"states":[]}`, []string{"recipient is null, want a string"}},
		{"recipient", `{"recipient":"alice","epoch":1,"sequences":[],"states":[]}`, []string{"recipient", `"alice"`, "does not start with @"}},
		{"epoch missing", `{"recipient":"@a:b","sequences":[],"states":[]}`, []string{"epoch is missing"}},
		{"epoch null", `{"recipient":"@a:b","epoch":null,"sequences":[],"states":[]}`, []string{"epoch is null"}},
		{"epoch negative", `{"recipient":"@a:b","epoch":-1,"sequences":[],"states":[]}`, []string{"epoch is -1, want an integer from 0"}},
		{"sequences missing", `{"recipient":"@a:b","epoch":1,"states":[]}`, []string{"sequences is missing"}},
		{"sequences null", `{"recipient":"@a:b","epoch":1,"sequences":null,"states":[]}`, []string{"sequences is null, want an array"}},
		{"sequence negative", `{"recipient":"@a:b","epoch":1,"sequences":[0,-1],"states":[]}`, []string{"sequences[1] is -1, want an integer from 0 to 18446744073709551615"}},
		{"sequence too large", `{"recipient":"@a:b","epoch":1,"sequences":[18446744073709551616],"states":[]}`, []string{"sequences[0] is 18446744073709551616"}},
		{"states missing", `{"recipient":"@a:b","epoch":1,"sequences":[]}`, []string{"states is missing"}},
		{"states an object", `{"recipient":"@a:b","epoch":1,"sequences":[],"states":{}}`, []string{"states is {}, want an array"}},
		{"lengths differ", `{"recipient":"@a:b","epoch":1,"sequences":[1,2],"states":[` + state + `]}`, []string{"sequences has 2 elements, want 1"}},
		{"epoch twice", `{"recipient":"@a:b","epoch":1,"epoch":1,"sequences":[],"states":[]}`, []string{"epoch is given twice"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeDelivery([]byte(tt.data))
			checkMessage(t, err, append(tt.message, "decode delivery: ")...)
		})
	}
	_, err := wire.DecodeDelivery([]byte(`{"recipient":"@a:b","epoch":1,"sequences":[1,2],"states":[` + state + `,{"user_id":"@a:b"}]}`))
	var invalid *wire.InvalidError
	if !errors.As(err, &invalid) || invalid.Reason != wire.InvalidState {
		t.Errorf("got %v, want one that wraps invalid_state", err)
	}
	checkMessage(t, err, "states[1]: invalid_state: state is missing")
}

func TestSplit(t *testing.T) {
	d := wire.Delivery{Recipient: presence.MustUserID("@alice:example.com"), Epoch: 1795370000000}
	for i := range 40 {
		state := decode(t, fmt.Sprintf(`{"user_id":"@u%d:example.com","state":"online"}`, i), uint64(i)*97)
		if i%5 == 0 {
			state.StatusMsg = presence.Status(strings.Repeat("☕\x01", i))
		}
		d.States = append(d.States, state)
	}
	whole := len(wire.AppendDelivery(nil, d))
	for _, maxBytes := range []int{1, 120, 200, 256, 300, 511, 1024, whole - 1, whole, whole + 1, 1 << 20} {
		t.Run(strconv.Itoa(maxBytes), func(t *testing.T) {
			parts := slices.Collect(d.Split(maxBytes))
			checkParts(t, d, parts, maxBytes)
			if maxBytes >= whole && len(parts) != 1 {
				t.Errorf("%d parts of %d bytes, want 1", len(parts), whole)
			}
		})
	}
}

// The sizes that Split estimates must never be too small, whatever needs the most
// room.
func TestSplitOfLargestStates(t *testing.T) {
	const most = math.MaxInt64
	user := presence.MustUserID("@" + strings.Repeat("\x01", 200) + ":example.com")
	times := presence.UserState{UserID: presence.MustUserID("@a:b"), State: "x.y", LastActive: most, LastFederationUpdate: most, LastUserSync: most}
	tests := []struct {
		name  string
		state presence.UserState
	}{
		{"times", times},
		{"status", presence.UserState{UserID: user, State: presence.Online, StatusMsg: presence.Status(strings.Repeat("\x1f", 500))}},
		{"state", presence.UserState{UserID: user, State: presence.State("." + strings.Repeat("\x02", 500))}},
		{"as published", decode(t, fullUpdate, math.MaxUint64)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := wire.Delivery{Recipient: user, Epoch: most, States: slices.Repeat([]presence.UserState{tt.state}, 50)}
			maxBytes := len(wire.AppendDelivery(nil, d)) - 1
			checkParts(t, d, slices.Collect(d.Split(maxBytes)), maxBytes)
		})
	}
}

// checkParts reports parts that are not d in order, too large, or more than needed.
func checkParts(t *testing.T, d wire.Delivery, parts []wire.Delivery, maxBytes int) {
	t.Helper()
	var states []presence.UserState
	for i, part := range parts {
		states = append(states, part.States...)
		size := len(wire.AppendDelivery(nil, part))
		if part.Recipient != d.Recipient || part.Epoch != d.Epoch || len(part.States) == 0 || size > maxBytes && len(part.States) > 1 {
			t.Errorf("part %d of %d has %d states in %d bytes, at most %d are allowed", i, len(parts), len(part.States), size, maxBytes)
		}
		if i+1 < len(parts) {
			part.States = append(slices.Clone(part.States), parts[i+1].States[0])
			if size := len(wire.AppendDelivery(nil, part)); size <= maxBytes {
				t.Errorf("part %d could take one more state: %d bytes of %d", i, size, maxBytes)
			}
		}
	}
	if !slices.Equal(states, d.States) {
		t.Errorf("the parts have %d states, want the same %d", len(states), len(d.States))
	}
}

func TestSplitStopsWhenAsked(t *testing.T) {
	d := mixedDelivery(t)
	parts := 0
	for range d.Split(1) {
		parts++
		break
	}
	if parts != 1 {
		t.Errorf("%d parts, want 1", parts)
	}
	if parts := slices.Collect(wire.Delivery{Recipient: d.Recipient}.Split(1000)); len(parts) != 0 {
		t.Errorf("a delivery without states has parts %v", parts)
	}
}

func TestAppendDeliveryAllocatesNothing(t *testing.T) {
	d := mixedDelivery(t)
	dst := make([]byte, 0, 4096)
	if allocs := testing.AllocsPerRun(100, func() { dst = wire.AppendDelivery(dst[:0], d) }); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func FuzzDelivery(f *testing.F) {
	f.Add("alice", "lunch ☕", int64(1795370000000), uint64(17), []byte(fullUpdate), 300)
	f.Add("\"\xff", "\x00\u2028\xff", int64(0), uint64(1<<63), []byte(" {\"user_id\":\"@a:b\" , \"state\":\"x.y\"}\n"), 1)
	f.Fuzz(func(t *testing.T, localpart, status string, epoch int64, position uint64, data []byte, maxBytes int) {
		recipient, err := presence.ParseUserID("@" + strings.ToValidUTF8(localpart, "?") + ":example.com")
		published, decodeErr := wire.DecodeUpdate(data, position, maxUpdateBytes)
		if err != nil || decodeErr != nil || epoch < 0 {
			return
		}
		altered := published
		altered.StatusMsg = presence.Status(status)
		d := wire.Delivery{Recipient: recipient, Epoch: epoch, States: []presence.UserState{
			published, altered, {UserID: recipient, State: presence.Online, StatusMsg: presence.Status(status)},
		}}
		checkStable(t, d)
		checkParts(t, d, slices.Collect(d.Split(maxBytes)), maxBytes)
	})
}

// checkStable reports a delivery that encodes differently once it was decoded.
func checkStable(t *testing.T, d wire.Delivery) {
	t.Helper()
	first := wire.AppendDelivery(nil, d)
	received, err := wire.DecodeDelivery(first)
	if err != nil || !json.Valid(first) {
		t.Fatalf("DecodeDelivery(%q): %v", first, err)
	}
	if second := wire.AppendDelivery(nil, received.Delivery); !bytes.Equal(first, second) {
		t.Errorf("encoded %q\n then %q", first, second)
	}
}

func FuzzDecodeDelivery(f *testing.F) {
	f.Add(wire.AppendDelivery(nil, mixedDelivery(f)))
	f.Add([]byte(`{"recipient":"\u0040a:b","epoch":-0,"sequences":[ 0 ],"states":[ {"user_id":"@a:b","state":"x.y"} ],"x":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		received, err := wire.DecodeDelivery(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Errorf("DecodeDelivery(%q) took what is no JSON", data)
		}
		checkStable(t, received.Delivery)
	})
}
