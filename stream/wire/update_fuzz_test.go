package wire_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// FuzzDecodeUpdate compares DecodeUpdate with encoding/json and the stricter rules
// on top of it.
func FuzzDecodeUpdate(f *testing.F) {
	for _, line := range capture(f)[:20] {
		f.Add(line)
	}
	for _, data := range []string{
		fullUpdate, `{}`, ``, `null`, `{"user_id":"@a:b","state":"x.y","status_msg":"\ud83d\ude00\ud83d\n\/"}`,
		`{"user_id":"@a:b","state":"busy","last_active_ts":-0,"x":[1.5e-3,{"y":[]}],"USER_ID":1}`,
		`{"user_id":null,"state":3,"last_active_ts":9223372036854775808}`, `{"state":"a","state":"b"}`,
		strings.Repeat(`{"a":[`, 40), "{\"a\":\"\xff\"}", `{"":1e700}`,
		`{"user_id":"@a:b","state":"busy","last_active_ts":1000.0,"last_user_sync_ts":1.5e1,"last_federation_update_ts":-0.0e9}`,
		`{"user_id":"@a:b","state":"busy","last_active_ts":10.01}`, `{"user_id":"@a:b","state":"busy","last_active_ts":9223372036854775807.0e+0}`,
		`{"user_id":"@a:b","state":"busy","last_active_ts":1e99999999999999999999}`,
	} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := wire.DecodeUpdate(data, 3, maxUpdateBytes)
		want, reason := referenceDecode(data)
		if reason == "" {
			checkAccepted(t, data, got, want, err)
			return
		}
		var invalid *wire.InvalidError
		if !errors.As(err, &invalid) || invalid.Reason != reason {
			t.Errorf("DecodeUpdate(%q) = %+v, %v, want %s", data, got, err, reason)
		}
	})
}

func checkAccepted(t *testing.T, data []byte, got, want presence.UserState, err error) {
	t.Helper()
	if err != nil || !got.Same(want) {
		t.Fatalf("DecodeUpdate(%q) = %+v, %v, want %+v", data, got, err, want)
	}
	if encoded := wire.AppendState(nil, got); !bytes.Equal(encoded, data) {
		t.Errorf("AppendState = %q, want %q", encoded, data)
	}
	got.LastActive ^= 1
	altered, err := wire.DecodeUpdate(wire.AppendState(nil, got), 4, 8*maxUpdateBytes)
	if err != nil || !altered.Same(got) {
		t.Errorf("altered state %+v decodes to %+v, %v", got, altered, err)
	}
}

// referenceDecode is DecodeUpdate by encoding/json, the reason in place of the
// error.
func referenceDecode(data []byte) (presence.UserState, wire.Reason) {
	if len(data) > maxUpdateBytes {
		return presence.UserState{}, wire.TooLarge
	}
	if !utf8.Valid(data) || !json.Valid(data) || jsonDepth(data) > 64 || halfPair(data) {
		return presence.UserState{}, wire.Malformed
	}
	members, ok := referenceMembers(data)
	if !ok {
		return presence.UserState{}, wire.Malformed
	}
	return referenceState(members)
}

// halfPair reports whether a string of data, which is JSON, has an escape that is
// half a surrogate pair.
func halfPair(data []byte) bool {
	for rest := data; ; {
		_, after, found := bytes.Cut(rest, []byte(`\`))
		switch {
		case !found:
			return false
		case after[0] != 'u':
			rest = after[1:]
			continue
		}
		var unit, next rune
		_, _ = fmt.Sscanf(string(after[:5]), "u%x", &unit)
		rest = after[5:]
		if !utf16.IsSurrogate(unit) {
			continue
		}
		if len(rest) < 6 || !bytes.HasPrefix(rest, []byte(`\u`)) {
			return true
		}
		_, _ = fmt.Sscanf(string(rest[1:6]), "u%x", &next)
		if utf16.DecodeRune(unit, next) == utf8.RuneError {
			return true
		}
		rest = rest[6:]
	}
}

// referenceMembers returns the known members, and false for what is no object or
// has one twice.
func referenceMembers(data []byte) (map[string]json.RawMessage, bool) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if first, _ := decoder.Token(); first != json.Delim('{') {
		return nil, false
	}
	known := []string{
		"user_id", "state", "last_active_ts", "last_federation_update_ts", "last_user_sync_ts", "status_msg", "currently_active",
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		key, _ := decoder.Token()
		var value json.RawMessage
		_ = decoder.Decode(&value)
		name, _ := key.(string)
		if !slices.Contains(known, name) {
			continue
		}
		if _, twice := members[name]; twice {
			return nil, false
		}
		members[name] = value
	}
	return members, true
}

func referenceState(members map[string]json.RawMessage) (presence.UserState, wire.Reason) {
	var fields struct {
		LastActive           wholeNumber `json:"last_active_ts"`
		LastFederationUpdate wholeNumber `json:"last_federation_update_ts"`
		LastUserSync         wholeNumber `json:"last_user_sync_ts"`
		StatusMsg            *string     `json:"status_msg"`
		CurrentlyActive      bool        `json:"currently_active"`
	}
	var user, state *string
	userErr, stateErr := json.Unmarshal(orNull(members["user_id"]), &user), json.Unmarshal(orNull(members["state"]), &state)
	delete(members, "user_id")
	delete(members, "state")
	rest, _ := json.Marshal(members)
	if err := json.Unmarshal(rest, &fields); err != nil {
		return presence.UserState{}, wire.Malformed
	}
	s := presence.UserState{
		LastActive: int64(fields.LastActive), LastFederationUpdate: int64(fields.LastFederationUpdate),
		LastUserSync: int64(fields.LastUserSync), CurrentlyActive: fields.CurrentlyActive,
	}
	if fields.StatusMsg != nil {
		s.StatusMsg = presence.Status(*fields.StatusMsg)
	}
	var err error
	if userErr != nil || user == nil {
		return presence.UserState{}, wire.InvalidUserID
	}
	if s.UserID, err = presence.ParseUserID(*user); err != nil {
		return presence.UserState{}, wire.InvalidUserID
	}
	if stateErr != nil || state == nil || !presence.State(*state).Valid() {
		return presence.UserState{}, wire.InvalidState
	}
	s.State = presence.State(*state)
	return s, ""
}

// wholeNumber is a time, read by math/big.
type wholeNumber int64

func (w *wholeNumber) UnmarshalJSON(data []byte) error {
	text := string(data)
	if text == "null" {
		return nil
	}
	if data[0] == '"' || data[0] == '[' || data[0] == '{' || data[0] == 't' || data[0] == 'f' {
		return errors.New("no number")
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if !strings.ContainsAny(mantissa, "123456789") {
		*w = 0
		return nil
	}
	if power, err := strconv.Atoi(cmp.Or(exponent, "0")); err != nil || power > 2*maxUpdateBytes || power < -2*maxUpdateBytes {
		return errors.New("far from any time")
	}
	number, ok := new(big.Rat).SetString(text)
	if !ok || !number.IsInt() || number.Sign() < 0 || !number.Num().IsInt64() {
		return errors.New("no time")
	}
	*w = wholeNumber(number.Num().Int64())
	return nil
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

func jsonDepth(data []byte) int {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return deepest
		}
		if err != nil {
			return 1 << 20
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}
