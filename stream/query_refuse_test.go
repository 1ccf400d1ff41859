package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestQueriesRefuse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, matrix{alice: {bob}})
	large := strings.Repeat("x", s.config.Streams.Updates.MaxUpdateBytes)
	tests := []struct {
		query, name, request string
		code                 wire.Code
		parts                []string
	}{
		{wire.InterestedUsers, "nothing", ``, 400, []string{"want a JSON object, got the end"}},
		{wire.InterestedUsers, "no JSON", "hello\r\nNats-Service-Error-Code: 200", 400, []string{"want a JSON object, got 'h'"}},
		{wire.InterestedUsers, "unknown field", `{"user_id":"@a:b","limits":1}`, 400, []string{`field "limits" is unknown, want user_id, limit, after`}},
		{wire.InterestedUsers, "line break in a field", `{"user_id":"@a:b","l\r\nX: 1":1}`, 400, []string{`field "l\r\nX: 1" is unknown`}},
		{wire.InterestedUsers, "user ID", `{"user_id":"alice"}`, 400, []string{"user_id", `"alice"`, "does not start with @"}},
		{wire.InterestedUsers, "limit 0", `{"user_id":"@a:b","limit":0}`, 400, []string{"limit is 0, want an integer from 1 to 100000"}},
		{wire.InterestedUsers, "limit of a billion", `{"user_id":"@a:b","limit":1000000000}`, 400, []string{"limit is 1000000000, want an integer from 1 to 100000"}},
		{wire.InterestedUsers, "after", `{"user_id":"@a:b","after":"☕"}`, 400, []string{"after", `"☕"`, "does not start with @"}},
		{wire.UsersForStates, "no JSON", `[`, 400, []string{"want a JSON object"}},
		{wire.UsersForStates, "unknown field", `{"states":[],"users":1}`, 400, []string{`field "users" is unknown`}},
		{wire.UsersForStates, "state", `{"states":[{"user_id":"@a:b","state":"away"}]}`, 400, []string{"states[0]", `state is "away"`}},
		{wire.UsersForStates, "large state", `{"states":[{"user_id":"@a:b","state":"busy","x":"` + large + `"}]}`, 413, []string{"states[0]", "at most 65536"}},
		{wire.UsersForStates, "after", `{"states":[],"after":"b"}`, 400, []string{"after", `"b"`}},
		{wire.SendOnlinePresence, "no JSON", `users`, 400, []string{"want a JSON object"}},
		{wire.SendOnlinePresence, "unknown field", `{"users":[],"limit":1}`, 400, []string{`field "limit" is unknown`}},
		{wire.SendOnlinePresence, "user ID", `{"users":["@a:b","@a"]}`, 400, []string{"users[1]", `"@a"`, "no colon"}},
		{wire.SendOnlinePresence, "too many", `{"users":["@a:b"` + strings.Repeat(`,"@a:b"`, 1024) + `]}`, 413, []string{"users has 1025 elements, at most 1024 are allowed"}},
		{wire.CurrentStates, "no JSON", `7`, 400, []string{"want a JSON object"}},
		{wire.CurrentStates, "unknown field", `{"users":[],"from":1}`, 400, []string{`field "from" is unknown`}},
		{wire.CurrentStates, "user ID", `{"users":[""]}`, 400, []string{"users[0]", `""`}},
		{wire.CurrentStates, "for", `{"users":[],"for":"x"}`, 400, []string{"for", `"x"`}},
		{wire.CurrentStates, "for another server", `{"users":[],"for":"@eva:somewhere.org"}`, 403, []string{`for is "@eva:somewhere.org"`, "server_names"}},
		{wire.CurrentStates, "after", `{"users":[],"after":"x"}`, 400, []string{"after", `"x"`}},
	}
	for _, tt := range tests {
		t.Run(tt.query+"/"+tt.name, func(t *testing.T) {
			answer, err := s.ask(t, tt.query, []byte(tt.request))
			wantQueryError(t, err, tt.code, tt.parts...)
			if len(answer) > 0 {
				t.Errorf("the error has the answer %s", answer)
			}
		})
	}
}

func TestQueriesTellThatAllRoutersFailed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	broken := errors.New("broken\nby " + strings.Repeat("é", 2000))
	failing, err := routing.Callbacks{
		UsersForStates: func(context.Context, states) (answer, error) { return nil, broken },
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.Interest{}, broken
		},
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	s.start(t, failing)
	for query, request := range map[string]string{
		wire.InterestedUsers:    `{"user_id":"@a:b"}`,
		wire.UsersForStates:     fmt.Sprintf(`{"states":[%s]}`, update(bob, 1)),
		wire.SendOnlinePresence: `{"users":["@a:b"]}`,
		wire.CurrentStates:      `{"users":["@a:b"],"for":"@alice:example.com"}`,
	} {
		t.Run(query, func(t *testing.T) {
			_, err := s.ask(t, query, []byte(request))
			wantQueryError(t, err, wire.CodeRoutersFailed, `all routers failed; router "static": broken; by é`)
			if size := len(err.Error()); size > 1100 {
				t.Errorf("the error has %d bytes", size)
			}
		})
	}
}
