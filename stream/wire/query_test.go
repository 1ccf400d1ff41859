package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// message is a request or an answer.
type message interface{ Append(dst []byte) []byte }

// codec decodes one kind of message.
type codec struct {
	name   string
	decode func(data []byte) (message, error)
	strict bool
}

func codecs() []codec {
	return []codec{
		{"interested_users request", decoder(wire.DecodeInterestedUsersRequest), true},
		{"interested_users answer", decoder(wire.DecodeInterestedUsersAnswer), false},
		{"users_for_states request", decoder(func(data []byte) (wire.UsersForStatesRequest, error) {
			return wire.DecodeUsersForStatesRequest(data, maxUpdateBytes)
		}), true},
		{"users_for_states answer", decoder(wire.DecodeUsersForStatesAnswer), false},
		{"send_online_presence request", decoder(wire.DecodeSendOnlinePresenceRequest), true},
		{"send_online_presence answer", decoder(wire.DecodeSendOnlinePresenceAnswer), false},
		{"current_states request", decoder(wire.DecodeCurrentStatesRequest), true},
		{"current_states answer", decoder(wire.DecodeCurrentStatesAnswer), false},
	}
}

func decoder[T message](decode func([]byte) (T, error)) func([]byte) (message, error) {
	return func(data []byte) (message, error) { return decode(data) }
}

func users(ids ...string) []presence.UserID {
	parsed := make([]presence.UserID, len(ids))
	for i, id := range ids {
		parsed[i] = presence.MustUserID(id)
	}
	return parsed
}

// queryMessages returns a message of each kind, full and empty, by golden file.
func queryMessages(tb testing.TB) map[string]message {
	tb.Helper()
	alice, bob := presence.MustUserID("@alice:example.com"), presence.MustUserID(`@b"☕:somewhere.org`)
	states := mixedDelivery(tb).States
	return map[string]message{
		"interested_users_request":       wire.InterestedUsersRequest{UserID: alice, Limit: 2, After: bob},
		"interested_users_request_first": wire.InterestedUsersRequest{UserID: alice},
		"interested_users_answer":        wire.InterestedUsersAnswer{Users: []presence.UserID{alice, bob}, Next: bob},
		"interested_users_answer_none":   wire.InterestedUsersAnswer{},
		"interested_users_answer_all":    wire.InterestedUsersAnswer{AllUsers: true},
		"users_for_states_request":       wire.UsersForStatesRequest{States: states, After: bob, AfterStates: 7},
		"users_for_states_request_first": wire.UsersForStatesRequest{States: states[:1]},
		"users_for_states_answer": wire.UsersForStatesAnswer{
			Users: []wire.UserStates{{UserID: alice, States: states}, {UserID: bob, States: states[1:2]}}, Next: bob, NextStates: 1,
		},
		"users_for_states_answer_none":       wire.UsersForStatesAnswer{},
		"send_online_presence_request":       wire.SendOnlinePresenceRequest{Users: []presence.UserID{alice, bob}, After: bob},
		"send_online_presence_request_first": wire.SendOnlinePresenceRequest{Users: []presence.UserID{alice}},
		"send_online_presence_answer": wire.SendOnlinePresenceAnswer{
			Users: []wire.SentStates{{UserID: alice, States: 12}, {UserID: bob}}, Next: bob,
		},
		"send_online_presence_answer_none": wire.SendOnlinePresenceAnswer{},
		"current_states_request":           wire.CurrentStatesRequest{Users: []presence.UserID{alice, bob}, For: alice, After: bob},
		"current_states_request_first":     wire.CurrentStatesRequest{Users: []presence.UserID{alice}},
		"current_states_answer": wire.CurrentStatesAnswer{
			States: []wire.PlacedState{{Epoch: 1795370000000, State: states[0]}, {Epoch: 1795370000001, State: states[1]}, {State: states[2]}}, Next: bob,
		},
		"current_states_answer_none": wire.CurrentStatesAnswer{},
	}
}

// codecOf returns the codec of a message in queryMessages.
func codecOf(name string) codec {
	for _, c := range codecs() {
		if strings.HasPrefix(name, strings.ReplaceAll(c.name, " ", "_")) {
			return c
		}
	}
	panic("no codec for " + name)
}

func TestQueryGolden(t *testing.T) {
	for name, m := range queryMessages(t) {
		t.Run(name, func(t *testing.T) {
			data := m.Append(nil)
			golden(t, "query/"+name+".json", data)
			var compact bytes.Buffer
			if err := json.Compact(&compact, data); err != nil || !bytes.Equal(compact.Bytes(), data) {
				t.Errorf("%s is not compact JSON: %v", data, err)
			}
			got, err := codecOf(name).decode(data)
			if err != nil {
				t.Fatalf("decode %s: %v", data, err)
			}
			if again := got.Append(nil); name != "interested_users_request_first" && !bytes.Equal(again, data) {
				t.Errorf("encoded again: %s, want %s", again, data)
			}
		})
	}
}

func TestDecodeInterestedUsersRequest(t *testing.T) {
	tests := []struct {
		name, data string
		want       wire.InterestedUsersRequest
	}{
		{"smallest", `{"user_id":"@a:b"}`, wire.InterestedUsersRequest{UserID: users("@a:b")[0], Limit: wire.DefaultLimit}},
		{"null", ` {"user_id":"@a:b","limit":null,"after":null} `, wire.InterestedUsersRequest{UserID: users("@a:b")[0], Limit: wire.DefaultLimit}},
		{"bounds", `{"user_id":"@a:b","limit":100000,"after":"@:c"}`, wire.InterestedUsersRequest{UserID: users("@a:b")[0], Limit: wire.MaxLimit, After: users("@:c")[0]}},
		{"least", `{"\u0075ser_id":"@a:b","limit":1}`, wire.InterestedUsersRequest{UserID: users("@a:b")[0], Limit: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := wire.DecodeInterestedUsersRequest([]byte(tt.data)); err != nil || got != tt.want {
				t.Errorf("DecodeInterestedUsersRequest(%s) = %+v, %v, want %+v", tt.data, got, err, tt.want)
			}
		})
	}
}

func TestDecodeUsersForStatesRequestKeepsUpdates(t *testing.T) {
	const first = ` {"state":"online", "user_id":"@bob:example.com","colour":"red"} `
	r, err := wire.DecodeUsersForStatesRequest([]byte(`{"states":[`+first+`,{"user_id":"@bob:example.com","state":"busy"}]}`), maxUpdateBytes)
	if err != nil || len(r.States) != 2 {
		t.Fatalf("got %+v, %v, want two states", r, err)
	}
	if p := r.States[0].Published(); string(p.JSON) != first || p.Position != 1 {
		t.Errorf("the first state is %q at %d, want %q at 1", p.JSON, p.Position, first)
	}
	if p := r.States[1].Published(); p.Position != 2 {
		t.Errorf("the second state is at %d, want 2", p.Position)
	}
}

func TestDecodeAnswersPassOverUnknownFields(t *testing.T) {
	for name, m := range queryMessages(t) {
		if c := codecOf(name); !c.strict {
			data := append([]byte(`{"version":[{}],`), m.Append(nil)[1:]...)
			if got, err := c.decode(data); err != nil || !bytes.Equal(got.Append(nil), m.Append(nil)) {
				t.Errorf("%s with an unknown field: got %s, %v", name, got.Append(nil), err)
			}
		}
	}
}

func TestDecodeQueryError(t *testing.T) {
	if err := wire.DecodeQueryError("", "x"); err != nil {
		t.Errorf("no code: got %v, want nil", err)
	}
	for _, tt := range []struct {
		code string
		want wire.Code
	}{{"400", wire.CodeInvalid}, {"503", wire.CodeUnavailable}, {"many", wire.CodeRoutersFailed}} {
		err := wire.DecodeQueryError(tt.code, "limit is 0")
		q, ok := errors.AsType[*wire.QueryError](err)
		if !ok || q.Code != tt.want || !strings.Contains(err.Error(), "limit is 0") || q.Unwrap() == nil {
			t.Errorf("code %s: got %v, want %d", tt.code, err, tt.want)
		}
	}
}

func FuzzDecodeQuery(f *testing.F) {
	for name, m := range queryMessages(f) {
		f.Add(m.Append(nil))
		if m, err := codecOf(name).decode(m.Append(nil)); err != nil {
			f.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	f.Add([]byte(`{"users":{"@a:b":[ {"user_id":"@a:b","state":"x.y"} ],"@a:b":[]},"next":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range codecs() {
			decoded, err := c.decode(data)
			if err != nil {
				if _, ok := errors.AsType[*wire.QueryError](err); ok != c.strict {
					t.Errorf("%s: %q gives %T", c.name, data, err)
				}
				continue
			}
			first := decoded.Append(nil)
			again, err := c.decode(first)
			if err != nil || !json.Valid(data) || !json.Valid(first) {
				t.Fatalf("%s: %q decodes, its encoding %q: %v", c.name, data, first, err)
			}
			if second := again.Append(nil); !bytes.Equal(first, second) {
				t.Errorf("%s: encoded %q\n then %q", c.name, first, second)
			}
		}
	})
}
