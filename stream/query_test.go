package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// appender is a request.
type appender interface{ Append(dst []byte) []byte }

// ask puts a query and returns the answer, or the *wire.QueryError.
func (s *site) ask(t *testing.T, query string, request []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	reply, err := s.nc.RequestWithContext(ctx, s.subjects.Query(query), request)
	if err != nil {
		t.Fatalf("ask %s: %v", query, err)
	}
	if size := int64(len(reply.Data)); size > s.nc.MaxPayload() {
		t.Errorf("answer to %s has %d bytes, the server takes %d", query, size, s.nc.MaxPayload())
	}
	return reply.Data, wire.DecodeQueryError(reply.Header.Get(wire.ErrorCodeHeader), reply.Header.Get(wire.ErrorHeader))
}

// answerTo puts a query that is to be answered, and decodes the answer.
func answerTo[T any](t *testing.T, s *site, query string, request appender, decode func([]byte) (T, error)) T {
	t.Helper()
	data, err := s.ask(t, query, request.Append(nil))
	if err != nil {
		t.Fatalf("%s %s: %v", query, request.Append(nil), err)
	}
	answer, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (s *site) interestedUsers(t *testing.T, r wire.InterestedUsersRequest) wire.InterestedUsersAnswer {
	t.Helper()
	return answerTo(t, s, wire.InterestedUsers, r, wire.DecodeInterestedUsersAnswer)
}

func (s *site) usersForStates(t *testing.T, r wire.UsersForStatesRequest) wire.UsersForStatesAnswer {
	t.Helper()
	return answerTo(t, s, wire.UsersForStates, r, wire.DecodeUsersForStatesAnswer)
}

func (s *site) currentStates(t *testing.T, r wire.CurrentStatesRequest) wire.CurrentStatesAnswer {
	t.Helper()
	return answerTo(t, s, wire.CurrentStates, r, wire.DecodeCurrentStatesAnswer)
}

// sendOnlinePresence returns how many states each user was sent.
func (s *site) sendOnlinePresence(t *testing.T, users ...string) map[string]int {
	t.Helper()
	answer := answerTo(t, s, wire.SendOnlinePresence, wire.SendOnlinePresenceRequest{Users: userIDs(users...)}, wire.DecodeSendOnlinePresenceAnswer)
	sent := make(map[string]int)
	for _, u := range answer.Users {
		sent[u.UserID.String()] = u.States
	}
	return sent
}

func userIDs(users ...string) []presence.UserID {
	ids := make([]presence.UserID, len(users))
	for i, user := range users {
		ids[i] = presence.MustUserID(user)
	}
	return ids
}

// wantQueryError reports an error without the code or one of parts.
func wantQueryError(t *testing.T, err error, code wire.Code, parts ...string) {
	t.Helper()
	q, ok := errors.AsType[*wire.QueryError](err)
	if !ok || q.Code != code {
		t.Errorf("error is %v, want code %d", err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// matrix is a router of who sees whom: users, or everybody's under "*".
type matrix map[string][]string

// UsersForStates chooses for each recipient the states of those they see.
func (m matrix) UsersForStates(_ context.Context, batch []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
	chosen := make(answer)
	for recipient, seen := range m {
		id := presence.MustUserID(recipient)
		for _, s := range batch {
			if seen[0] == "*" || slices.Contains(seen, s.UserID.String()) {
				chosen[id] = append(chosen[id], s)
			}
		}
	}
	return chosen, nil
}

// InterestedUsers returns whom userID sees.
func (m matrix) InterestedUsers(_ context.Context, userID presence.UserID) (routing.Interest, error) {
	seen := m[userID.String()]
	if len(seen) > 0 && seen[0] == "*" {
		return routing.All(), nil
	}
	return routing.Users(userIDs(seen...)...), nil
}

// interested is a router whose answer about interest is fixed.
func interested(t *testing.T, interest func(context.Context, presence.UserID) (routing.Interest, error)) routing.Router {
	t.Helper()
	r, err := routing.Callbacks{
		UsersForStates:  func(context.Context, states) (answer, error) { return nil, nil },
		InterestedUsers: interest,
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// manyUsers returns n users of example.com, in order.
func manyUsers(n int) []presence.UserID {
	ids := make([]presence.UserID, n)
	for i := range ids {
		ids[i] = presence.MustUserID(fmt.Sprintf("@user%07d:example.com", i))
	}
	return ids
}

func TestInterestedUsersPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := routing.Users(manyUsers(1_000_000)...)
	few := routing.Users(manyUsers(10_000)...)
	s.start(t, interested(t, func(_ context.Context, user presence.UserID) (routing.Interest, error) {
		switch user.Localpart() {
		case "million":
			return all, nil
		case "myriad":
			return few, nil
		default:
			return routing.Users(), nil
		}
	}))
	for _, tt := range []struct {
		user         string
		limit, pages int // pages at most
		want         []presence.UserID
	}{
		{"@nobody:example.com", 0, 1, nil},
		{"@myriad:example.com", 0, 10, few.Users()},
		{"@myriad:example.com", 9_999, 2, few.Users()},
		{"@myriad:example.com", 10_000, 1, few.Users()},
		{"@million:example.com", wire.MaxLimit, 30, all.Users()},
	} {
		t.Run(fmt.Sprintf("%s/%d", tt.user, tt.limit), func(t *testing.T) {
			r := wire.InterestedUsersRequest{UserID: presence.MustUserID(tt.user), Limit: tt.limit}
			rest := tt.want
			for range tt.pages {
				page := s.interestedUsers(t, r)
				n := len(page.Users)
				if page.AllUsers || n > max(r.Limit, wire.DefaultLimit) || n > len(rest) || !slices.Equal(page.Users, rest[:n]) {
					t.Fatalf("a page of %d users behind %s is not what comes next", n, r.After)
				}
				rest = rest[n:]
				if r.After = page.Next; page.Next.IsZero() {
					break
				}
			}
			if len(rest) > 0 || !r.After.IsZero() {
				t.Errorf("%d users are left after %d pages, next is %s", len(rest), tt.pages, r.After)
			}
		})
	}
}

func TestInterestedUsersAfterAnybody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, matrix{alice: {"@b:example.com", "@d:example.com"}, carol: {"*"}})
	for after, want := range map[string][]string{
		"@a:example.com": {"@b:example.com", "@d:example.com"},
		"@b:example.com": {"@d:example.com"},
		"@c:example.com": {"@d:example.com"},
		"@d:example.com": nil,
	} {
		page := s.interestedUsers(t, wire.InterestedUsersRequest{UserID: presence.MustUserID(alice), After: presence.MustUserID(after)})
		if !slices.Equal(page.Users, userIDs(want...)) || !page.Next.IsZero() {
			t.Errorf("after %s: got %v, next %s, want %v", after, page.Users, page.Next, want)
		}
	}
	if page := s.interestedUsers(t, wire.InterestedUsersRequest{UserID: presence.MustUserID(carol), Limit: 1}); !page.AllUsers {
		t.Errorf("interest of %s is %+v, want all users", carol, page)
	}
}
