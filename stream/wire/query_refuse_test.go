package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

func manyUsers(n int) string {
	return `["` + strings.Join(strings.Split(strings.Repeat("@a:b ", n-1)+"@a:b", " "), `","`) + `"]`
}

func TestDecodeRequestRefuses(t *testing.T) {
	long := `"` + strings.Repeat("x", 300) + `"`
	tests := []struct {
		query, name, data string
		code              wire.Code
		parts             []string
	}{
		{"interested_users", "empty", ``, 400, []string{"want a JSON object, got the end"}},
		{"interested_users", "no JSON", `hello`, 400, []string{"byte 0: want a JSON object, got 'h'"}},
		{"interested_users", "array", `[]`, 400, []string{"want a JSON object"}},
		{"interested_users", "trailing", `{"user_id":"@a:b"} x`, 400, []string{"want nothing after the object"}},
		{"interested_users", "unknown field", `{"user_id":"@a:b","limitt":3}`, 400, []string{`field "limitt" is unknown`, "want user_id, limit, after"}},
		{"interested_users", "field twice", `{"user_id":"@a:b","user_id":"@a:b"}`, 400, []string{"user_id is given twice"}},
		{"interested_users", "no user", `{"limit":3}`, 400, []string{"user_id is missing"}},
		{"interested_users", "null user", `{"user_id":null}`, 400, []string{"user_id is null, want a string"}},
		{"interested_users", "bad user", `{"user_id":"alice"}`, 400, []string{"user_id", `"alice"`, "does not start with @"}},
		{"interested_users", "long user", `{"user_id":` + long + `}`, 400, []string{"user_id", "300 bytes", "at most 255"}},
		{"interested_users", "limit 0", `{"user_id":"@a:b","limit":0}`, 400, []string{"limit is 0, want an integer from 1 to 100000"}},
		{"interested_users", "negative limit", `{"user_id":"@a:b","limit":-1}`, 400, []string{"limit is -1"}},
		{"interested_users", "limit of a billion", `{"user_id":"@a:b","limit":1000000000}`, 400, []string{"limit is 1000000000, want an integer from 1 to 100000"}},
		{"interested_users", "limit beyond all integers", `{"user_id":"@a:b","limit":99999999999999999999}`, 400, []string{"limit is 99999999999999999999"}},
		{"interested_users", "fraction", `{"user_id":"@a:b","limit":1.5}`, 400, []string{"limit is 1.5"}},
		{"interested_users", "text as limit", `{"user_id":"@a:b","limit":"3"}`, 400, []string{`limit is "3"`}},
		{"interested_users", "after", `{"user_id":"@a:b","after":"b"}`, 400, []string{"after", `"b"`, "does not start with @"}},
		{"interested_users", "empty after", `{"user_id":"@a:b","after":""}`, 400, []string{"after", `""`}},
		{"users_for_states", "no states", `{}`, 400, []string{"states is missing"}},
		{"users_for_states", "null states", `{"states":null}`, 400, []string{"states is null, want an array"}},
		{"users_for_states", "state", `{"states":[{"user_id":"@a:b","state":"busy"},{"user_id":"@a:b","state":"away"}]}`, 400, []string{"states[1]", `state is "away"`, "want online"}},
		{"users_for_states", "state without user", `{"states":[{"state":"busy"}]}`, 400, []string{"states[0]", "user_id is missing"}},
		{"users_for_states", "negative time", `{"states":[{"user_id":"@a:b","state":"busy","last_active_ts":-4}]}`, 400, []string{"states[0]", "last_active_ts is -4, want an integer from 0"}},
		{"users_for_states", "large state", `{"states":[{"user_id":"@a:b","state":"busy","x":"` + strings.Repeat("x", maxUpdateBytes) + `"}]}`, 413, []string{"states[0]", "at most 65536 are allowed"}},
		{"users_for_states", "after", `{"states":[],"after":"b"}`, 400, []string{"after", `"b"`}},
		{"users_for_states", "after_states alone", `{"states":[],"after_states":3}`, 400, []string{"after_states is 3 without after"}},
		{"users_for_states", "after_states 0", `{"states":[],"after":"@a:b","after_states":0}`, 400, []string{"after_states is 0, want an integer from 1"}},
		{"send_online_presence", "no users", `{}`, 400, []string{"users is missing"}},
		{"send_online_presence", "text as users", `{"users":"@a:b"}`, 400, []string{`users is "@a:b", want an array`}},
		{"send_online_presence", "bad user", `{"users":["@a:b","b"]}`, 400, []string{"users[1]", `"b"`, "does not start with @"}},
		{"send_online_presence", "number as user", `{"users":[3]}`, 400, []string{"users[0] is 3, want a string"}},
		{"send_online_presence", "too many users", `{"users":` + manyUsers(1025) + `}`, 413, []string{"users has 1025 elements, at most 1024 are allowed"}},
		{"send_online_presence", "after", `{"users":[],"after":7}`, 400, []string{"after is 7, want a string"}},
		{"current_states", "too many users", `{"users":` + manyUsers(1025) + `}`, 413, []string{"users has 1025 elements"}},
		{"current_states", "for", `{"users":[],"for":"x"}`, 400, []string{"for", `"x"`}},
		{"current_states", "after", `{"users":[],"after":"x"}`, 400, []string{"after", `"x"`}},
		{"current_states", "nested too deep", `{"users":` + strings.Repeat("[", 80) + strings.Repeat("]", 80) + `}`, 400, []string{"nested deeper"}},
	}
	for _, tt := range tests {
		t.Run(tt.query+"/"+tt.name, func(t *testing.T) {
			_, err := codecOf(tt.query + "_request").decode([]byte(tt.data))
			checkMessage(t, err, tt.parts...)
			q, ok := errors.AsType[*wire.QueryError](err)
			if !ok || q.Code != tt.code {
				t.Errorf("error is %v, want code %d", err, tt.code)
			}
		})
	}
	if r, err := wire.DecodeSendOnlinePresenceRequest(fmt.Appendf(nil, `{"users":%s}`, manyUsers(1024))); err != nil || len(r.Users) != 1024 {
		t.Errorf("1024 users: got %d, %v", len(r.Users), err)
	}
}

func TestDecodeAnswerRefuses(t *testing.T) {
	tests := []struct{ answer, name, data, message string }{
		{"interested_users", "no JSON", `x`, "want a JSON object"},
		{"interested_users", "no all_users", `{"users":[]}`, "all_users is missing"},
		{"interested_users", "all_users", `{"all_users":1}`, "all_users is 1, want true or false"},
		{"interested_users", "users", `{"all_users":false,"users":["b"]}`, "users[0]"},
		{"interested_users", "next", `{"all_users":false,"next":"b"}`, "next"},
		{"users_for_states", "users", `{"users":[]}`, "users is [], want an object"},
		{"users_for_states", "recipient", `{"users":{"b":[]}}`, "users: invalid user ID"},
		{"users_for_states", "state", `{"users":{"@a:b":[{}]}}`, `users["@a:b"][0]`},
		{"users_for_states", "next_states", `{"users":{},"next_states":-1}`, "next_states is -1"},
		{"send_online_presence", "states", `{"users":{"@a:b":{"states":"x"}}}`, `states is "x"`},
		{"send_online_presence", "no states", `{"users":{"@a:b":{}}}`, "states is missing"},
		{"send_online_presence", "number", `{"users":{"@a:b":3}}`, "want a JSON object"},
		{"current_states", "lengths", `{"epochs":[1],"sequences":[],"states":[]}`, "epochs has 1 elements and sequences 0, want 0"},
		{"current_states", "epoch", `{"epochs":[-1],"sequences":[],"states":[]}`, "epochs[0] is -1"},
		{"current_states", "sequence", `{"epochs":[],"sequences":[1,"x"],"states":[]}`, `sequences[1] is "x"`},
		{"current_states", "state", `{"epochs":[1],"sequences":[1],"states":[{}]}`, "states[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.answer+"/"+tt.name, func(t *testing.T) {
			_, err := codecOf(tt.answer + "_answer").decode([]byte(tt.data))
			checkMessage(t, err, "decode answer", tt.message)
		})
	}
}
