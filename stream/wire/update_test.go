package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

const fullUpdate = `{"user_id":"@bob:example.com","state":"online","last_active_ts":1795378782366,"last_federation_update_ts":7,` +
	`"last_user_sync_ts":1795378782300,"status_msg":"lunch ☕","currently_active":true}`

func TestDecodeUpdate(t *testing.T) {
	bob := presence.MustUserID("@bob:example.com")
	online := presence.UserState{UserID: bob, State: presence.Online}
	with := func(change func(*presence.UserState)) presence.UserState {
		state := online
		change(&state)
		return state
	}
	start := `{"user_id":"@bob:example.com","state":"online"`
	tests := []struct {
		name, data string
		want       presence.UserState
	}{
		{"every field", fullUpdate, presence.UserState{
			UserID: bob, State: presence.Online, LastActive: 1795378782366, LastFederationUpdate: 7,
			LastUserSync: 1795378782300, StatusMsg: presence.Status("lunch ☕"), CurrentlyActive: true,
		}},
		{"required fields only", start + `}`, online},
		{"null is the default", start + `,"last_active_ts":null,"last_federation_update_ts":null,"last_user_sync_ts":null,"status_msg":null,"currently_active":null}`, online},
		{"empty status", start + `,"status_msg":""}`, with(func(s *presence.UserState) { s.StatusMsg = presence.Status("") })},
		{"not active", start + `,"currently_active":false}`, online},
		{"largest time", start + `,"last_active_ts":9223372036854775807}`, with(func(s *presence.UserState) { s.LastActive = 1<<63 - 1 })},
		{"zero with a sign", start + `,"last_active_ts":-0}`, online},
		{"float", start + `,"last_active_ts":1000.0}`, with(func(s *presence.UserState) { s.LastActive = 1000 })},
		{"float with many zeros", start + `,"last_active_ts":1795378782366.` + strings.Repeat("0", 300) + `}`, with(func(s *presence.UserState) { s.LastActive = 1795378782366 })},
		{"exponent", start + `,"last_active_ts":1e3}`, with(func(s *presence.UserState) { s.LastActive = 1000 })},
		{"fraction and exponent", start + `,"last_active_ts":1.795378782366E+12}`, with(func(s *presence.UserState) { s.LastActive = 1795378782366 })},
		{"negative exponent", start + `,"last_active_ts":120000e-4}`, with(func(s *presence.UserState) { s.LastActive = 12 })},
		{"largest time as float", start + `,"last_active_ts":922337203685477580.7e1}`, with(func(s *presence.UserState) { s.LastActive = 1<<63 - 1 })},
		{"zero as float", start + `,"last_active_ts":-0.00e999999999999999999999}`, online},
		{"unknown fields", start + `,"x":[1,{"y":-1.5e+3,"state":"no"},[],{},"\u0000",true,false,null],"x":0}`, online},
		{"keys are case-sensitive", start + `,"State":3,"USER_ID":null}`, online},
		{"whitespace everywhere", " {\t\"user_id\" :\r\n\"@bob:example.com\" , \"state\" : \"online\" , \"x\" : [ 1 , 2 ] } \n", online},
		{"escaped key and values", `{"\u0075ser_id":"\u0040bob\u003Aexample.com","st\u0061te":"on\u006cine"}`, online},
		{"short escapes", start + `,"status_msg":"\"\\\/\b\f\n\r\t"}`, with(func(s *presence.UserState) { s.StatusMsg = presence.Status("\"\\/\b\f\n\r\t") })},
		{"surrogate pair", start + `,"status_msg":"a\ud83d\uDE00b"}`, with(func(s *presence.UserState) { s.StatusMsg = presence.Status("a😀b") })},
		{"hex digits", start + `,"status_msg":"\u9aF0\u09af"}`, with(func(s *presence.UserState) { s.StatusMsg = presence.Status("\u9af0\u09af") })},
		{"state with a namespace", `{"user_id":"@bob:example.com","state":"com.example.away"}`, with(func(s *presence.UserState) { s.State = "com.example.away" })},
		{"unstable busy", `{"user_id":"@bob:example.com","state":"org.matrix.msc3026.busy"}`, with(func(s *presence.UserState) { s.State = presence.UnstableBusy })},
		{"deepest", start + `,"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, online},
		{"as large as allowed", start + `}` + strings.Repeat(" ", maxUpdateBytes-len(start)-1), online},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := decode(t, tt.data, 42)
			if !got.Same(tt.want) {
				t.Errorf("DecodeUpdate(%s) = %+v, want %+v", tt.data, got, tt.want)
			}
			if got.Altered() || got.Published().Position != 42 || string(got.Published().JSON) != tt.data {
				t.Errorf("DecodeUpdate(%s) has %+v attached", tt.data, got.Published())
			}
			if encoded := string(wire.AppendState(nil, got)); encoded != tt.data {
				t.Errorf("AppendState = %s, want the update %s", encoded, tt.data)
			}
		})
	}
}

type invalidUpdate struct {
	name, data string
	reason     wire.Reason
	message    []string
}

func checkInvalidUpdates(t *testing.T, tests []invalidUpdate) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeUpdate([]byte(tt.data), 1, maxUpdateBytes)
			var invalid *wire.InvalidError
			if !errors.As(err, &invalid) || invalid.Reason != tt.reason {
				t.Fatalf("DecodeUpdate(%.200s) = %+v, %v, want %s", tt.data, got, err, tt.reason)
			}
			if got != (presence.UserState{}) {
				t.Errorf("DecodeUpdate(%.200s) = %+v beside an error", tt.data, got)
			}
			if len(err.Error()) > 400 {
				t.Errorf("error of %d bytes: %s", len(err.Error()), err)
			}
			checkMessage(t, err, append(tt.message, string(tt.reason)+": ")...)
		})
	}
}

func TestDecodeUpdateRefusesUserID(t *testing.T) {
	long := "@" + strings.Repeat("é", 200) + ":a"
	checkInvalidUpdates(t, []invalidUpdate{
		{"missing", `{"state":"online"}`, wire.InvalidUserID, []string{"user_id is missing"}},
		{"other case", `{"User_ID":"@a:b","state":"online"}`, wire.InvalidUserID, []string{"user_id is missing"}},
		{"null", `{"user_id":null,"state":"online"}`, wire.InvalidUserID, []string{"user_id is null, want a string"}},
		{"number", `{"user_id":5,"state":"online"}`, wire.InvalidUserID, []string{"user_id is 5, want a string"}},
		{"object", "{\"user_id\":{\n\"a\": 1},\"state\":\"online\"}", wire.InvalidUserID, []string{`user_id is { "a": 1}, want a string`}},
		{"empty", `{"user_id":"","state":"online"}`, wire.InvalidUserID, []string{"user_id", `""`, "does not start with @"}},
		{"no sigil", `{"user_id":"bob:example.com","state":"online"}`, wire.InvalidUserID, []string{"user_id", `"bob:example.com"`, "does not start with @"}},
		{"no server", `{"user_id":"@bob","state":"online"}`, wire.InvalidUserID, []string{"user_id", `"@bob"`, "has no colon"}},
		{"bad server", `{"user_id":"@bob:exa_mple","state":"online"}`, wire.InvalidUserID, []string{"user_id", `"@bob:exa_mple"`, "'_'"}},
		{"NUL", `{"user_id":"@b\u0000b:a","state":"online"}`, wire.InvalidUserID, []string{"user_id", `"@b\x00b:a"`, "NUL"}},
		{"long", `{"user_id":"` + long + `","state":"online"}`, wire.InvalidUserID, []string{"user_id", `"@` + strings.Repeat("é", 31) + `…"`, "403 bytes", "at most 255"}},
		{"very long", `{"user_id":"` + strings.Repeat("x", 50000) + `","state":"online"}`, wire.InvalidUserID, []string{"50000 bytes", "at most 255"}},
		{"as long as an error shows", `{"user_id":"` + strings.Repeat("x", 64) + `","state":"online"}`, wire.InvalidUserID, []string{"user_id: ", "does not start with @"}},
		{"before the state", `{"state":"no","user_id":"no"}`, wire.InvalidUserID, []string{"user_id", `"no"`}},
	})
}

func TestDecodeUpdateRefusesState(t *testing.T) {
	start := `{"user_id":"@a:b"`
	const bound = "want online, unavailable, offline, busy or a namespaced value"
	checkInvalidUpdates(t, []invalidUpdate{
		{"missing", start + `}`, wire.InvalidState, []string{"state is missing"}},
		{"null", start + `,"state":null}`, wire.InvalidState, []string{"state is null, want a string"}},
		{"boolean", start + `,"state":true}`, wire.InvalidState, []string{"state is true, want a string"}},
		{"array", start + `,"state":["online"]}`, wire.InvalidState, []string{`state is ["online"], want a string`}},
		{"unknown", start + `,"state":"away"}`, wire.InvalidState, []string{`state is "away"`, bound}},
		{"other case", start + `,"state":"Online"}`, wire.InvalidState, []string{`state is "Online"`, bound}},
		{"empty", start + `,"state":""}`, wire.InvalidState, []string{`state is ""`, bound}},
		{"long", start + `,"state":"` + strings.Repeat("x", 60000) + `"}`, wire.InvalidState, []string{`state is "` + strings.Repeat("x", 64) + `…"`, bound}},
	})
}

func TestDecodeUpdateRefusesFields(t *testing.T) {
	start := `{"user_id":"@a:b","state":"online"`
	const bound = "want an integer from 0 to 9223372036854775807"
	checkInvalidUpdates(t, []invalidUpdate{
		{"negative time", start + `,"last_active_ts":-5}`, wire.Malformed, []string{"last_active_ts is -5, " + bound}},
		{"fraction", start + `,"last_federation_update_ts":1.5}`, wire.Malformed, []string{"last_federation_update_ts is 1.5, " + bound}},
		{"small fraction", start + `,"last_user_sync_ts":1795378782366.0000000000000000001}`, wire.Malformed, []string{"last_user_sync_ts is 1795378782366.0000000000000000001, " + bound}},
		{"exponent that makes a fraction", start + `,"last_active_ts":1001e-1}`, wire.Malformed, []string{"last_active_ts is 1001e-1, " + bound}},
		{"negative float", start + `,"last_active_ts":-1.0}`, wire.Malformed, []string{"last_active_ts is -1.0, " + bound}},
		{"float above the largest time", start + `,"last_active_ts":9223372036854775808.0}`, wire.Malformed, []string{"last_active_ts is 9223372036854775808.0, " + bound}},
		{"exponent above the largest time", start + `,"last_active_ts":1e19}`, wire.Malformed, []string{"last_active_ts is 1e19, " + bound}},
		{"huge exponent", start + `,"last_active_ts":1e99999999999999999999}`, wire.Malformed, []string{"last_active_ts is 1e99999999999999999999, " + bound}},
		{"hugely negative exponent", start + `,"last_active_ts":1e-99999999999999999999}`, wire.Malformed, []string{bound}},
		{"overflow by one", start + `,"last_active_ts":9223372036854775808}`, wire.Malformed, []string{"last_active_ts is 9223372036854775808, " + bound}},
		{"overflow of 64 bits", start + `,"last_active_ts":18446744073709551617}`, wire.Malformed, []string{"18446744073709551617, " + bound}},
		{"very long number", start + `,"last_active_ts":` + strings.Repeat("9", 5000) + `}`, wire.Malformed, []string{"is " + strings.Repeat("9", 64) + "…, " + bound}},
		{"time in quotes", start + `,"last_active_ts":"5"}`, wire.Malformed, []string{`last_active_ts is "5", ` + bound}},
		{"status is a number", start + `,"status_msg":5}`, wire.Malformed, []string{"status_msg is 5, want a string or null"}},
		{"status is an object", start + `,"status_msg":{}}`, wire.Malformed, []string{"status_msg is {}, want a string or null"}},
		{"active is a number", start + `,"currently_active":1}`, wire.Malformed, []string{"currently_active is 1, want true, false or null"}},
		{"active is a string", start + `,"currently_active":"true"}`, wire.Malformed, []string{`currently_active is "true", want true, false or null`}},
		{"user twice", start + `,"user_id":"@a:b"}`, wire.Malformed, []string{"user_id is given twice, want it once"}},
		{"state twice, once escaped", start + `,"\u0073tate":"online"}`, wire.Malformed, []string{"state is given twice"}},
		{"time twice, once null", start + `,"last_active_ts":null,"last_active_ts":1}`, wire.Malformed, []string{"last_active_ts is given twice"}},
		{"before the user", `{"user_id":"no","state":"no","last_active_ts":-1}`, wire.Malformed, []string{"last_active_ts is -1"}},
	})
}

func TestDecodeUpdateRefusesJSON(t *testing.T) {
	start := `{"user_id":"@a:b","state":"online"`
	checkInvalidUpdates(t, []invalidUpdate{
		{"empty", ``, wire.Malformed, []string{"update: byte 0: want a JSON object, got the end"}},
		{"blank", ` `, wire.Malformed, []string{"byte 1: want a JSON object, got the end"}},
		{"half a pair, and no escape", start + `,"x":"\ud83dxude00"}`, wire.Malformed, []string{"want the other half of a surrogate pair"}},
		{"half a pair, and another escape", start + `,"x":"\ud83d\nde00xx"}`, wire.Malformed, []string{"want the other half of a surrogate pair"}},
		{"array", `[]`, wire.Malformed, []string{"byte 0: want a JSON object, got '['"}},
		{"null", `null`, wire.Malformed, []string{"byte 0: want a JSON object, got 'n'"}},
		{"string", `"☕"`, wire.Malformed, []string{"byte 0: want a JSON object"}},
		{"byte order mark", "\ufeff{}", wire.Malformed, []string{"byte 0: want a JSON object"}},
		{"open object", `{`, wire.Malformed, []string{"byte 1: want a key in quotes, got the end"}},
		{"comma at the end", start + `,}`, wire.Malformed, []string{"want a key in quotes, got '}'"}},
		{"comma first", `{,}`, wire.Malformed, []string{"want a key in quotes, got ','"}},
		{"comma missing", `{"a":1 "b":2}`, wire.Malformed, []string{"byte 7: want a comma or a closing brace, got '\"'"}},
		{"colon missing", `{"a" 1}`, wire.Malformed, []string{"byte 5: want a colon after the key, got '1'"}},
		{"value missing", `{"a":}`, wire.Malformed, []string{"byte 5: want a JSON value, got '}'"}},
		{"bare key", `{a:1}`, wire.Malformed, []string{"byte 1: want a key in quotes, got 'a'"}},
		{"two values", start + `} {}`, wire.Malformed, []string{"want nothing after the object, got '{'"}},
		{"NUL after it", start + "}\x00", wire.Malformed, []string{"want nothing after the object, got '\\x00'"}},
		{"open array", `{"a":[1`, wire.Malformed, []string{"want a comma or a closing bracket, got the end"}},
		{"comma at the end of an array", `{"a":[1,]}`, wire.Malformed, []string{"want a JSON value, got ']'"}},
		{"mismatched brackets", `{"a":[1}}`, wire.Malformed, []string{"want a comma or a closing bracket, got '}'"}},
		{"literal", `{"a":nul}`, wire.Malformed, []string{"byte 5: want a JSON value"}},
		{"literal too long", `{"a":truex}`, wire.Malformed, []string{"want a comma or a closing brace, got 'x'"}},
		{"NaN", `{"a":NaN}`, wire.Malformed, []string{"want a JSON value, got 'N'"}},
		{"leading zero", `{"last_active_ts":01}`, wire.Malformed, []string{"want a comma or a closing brace, got '1'"}},
		{"plus", `{"a":+1}`, wire.Malformed, []string{"want a JSON value, got '+'"}},
		{"minus alone", `{"a":-}`, wire.Malformed, []string{"want a JSON value, got '}'"}},
		{"dot at the end", `{"a":1.}`, wire.Malformed, []string{"want a digit, got '}'"}},
		{"exponent empty", `{"a":1e+}`, wire.Malformed, []string{"want a digit, got '}'"}},
		{"open string", `{"a":"b`, wire.Malformed, []string{"want a closing quote, got the end"}},
		{"newline in a string", "{\"a\":\"b\n\"}", wire.Malformed, []string{"want no unescaped control character in a string, got '\\n'"}},
		{"unknown escape", `{"a":"\x"}`, wire.Malformed, []string{"want an escape that JSON has, got 'x'"}},
		{"escape at the end", `{"a":"\`, wire.Malformed, []string{"want an escape that JSON has, got the end"}},
		{"escape too short", `{"a":"\u12"}`, wire.Malformed, []string{"want a hex digit, got '\"'"}},
		{"escape one digit short", `{"a":"\u123"}`, wire.Malformed, []string{"want a hex digit, got '\"'"}},
		{"invalid UTF-8", "{\"a\":\"☕\xff\"}", wire.Malformed, []string{"byte 9: want valid UTF-8, got 0xff"}},
		{"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", wire.Malformed, []string{"byte 6: want valid UTF-8, got 0xed"}},
		{"first half of a surrogate pair", `{"a":"\ud83d-"}`, wire.Malformed, []string{"surrogate pair"}},
		{"second half of a surrogate pair", `{"a":"\ude00\ud83d"}`, wire.Malformed, []string{"surrogate pair"}},
		{"half a surrogate pair at the end", `{"a":"\ud83d`, wire.Malformed, []string{"surrogate pair"}},
		{"too deep", start + `,"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, wire.Malformed, []string{"nested deeper than 64"}},
		{"much too deep", start + `,"x":` + strings.Repeat(`{"a":`, 10000), wire.Malformed, []string{"nested deeper than 64"}},
		{"bad user, then bad JSON", `{"user_id":"no"`, wire.Malformed, []string{"want a comma or a closing brace, got the end"}},
		{"too large", start + `}` + strings.Repeat(" ", maxUpdateBytes), wire.TooLarge, []string{"update is 65571 bytes, at most 65536 are allowed"}},
	})
}

func TestInvalidErrorWrapsItsCause(t *testing.T) {
	tests := []struct {
		name, data string
		want       error
	}{
		{"short user ID", `{"user_id":"bob","state":"online"}`, presence.ErrInvalidUserID},
		{"long user ID", `{"user_id":"` + strings.Repeat("x", 100) + `","state":"online"}`, presence.ErrInvalidUserID},
		{"state", `{"user_id":"@a:b","state":"away"}`, presence.ErrInvalidState},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := wire.DecodeUpdate([]byte(tt.data), 1, maxUpdateBytes); !errors.Is(err, tt.want) {
				t.Errorf("DecodeUpdate(%s): %v, want one that wraps %q", tt.data, err, tt.want)
			}
		})
	}
}

func TestDecodeUpdateKeepsCapture(t *testing.T) {
	lines := capture(t)
	if len(lines) != 670 {
		t.Fatalf("the capture has %d lines, want 670", len(lines))
	}
	for i, line := range lines {
		state := decode(t, string(line), uint64(i)+1)
		if got := wire.AppendState(nil, state); string(got) != string(line) {
			t.Errorf("line %d: got %s, want %s", i+1, got, line)
		}
		if err := state.Validate(); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
	}
}
