package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestUsersForStatesMergesAsTheStreamPath(t *testing.T) {
	t.Parallel()
	const remote = "@eva:somewhere.org"
	tests := []struct {
		name     string
		coalesce bool
		want     string
	}{
		{"all", false, `{"users":{` +
			`"@alice:example.com":[` + update(bob, 1) + `,` + update(remote, 2) + `,` + update(bob, 3) + `],` +
			`"@eva:somewhere.org":[` + update(bob, 1) + `,` + update(bob, 3) + `]}}`},
		{"coalesced", true, `{"users":{` +
			`"@alice:example.com":[` + update(remote, 2) + `,` + update(bob, 3) + `],` +
			`"@eva:somewhere.org":[` + update(bob, 3) + `]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Worker.Coalesce = tt.coalesce })
			s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
				return answer{
					presence.MustUserID(alice): batch, presence.MustUserID(carol): nil,
					presence.MustUserID(remote): batch, presence.MustUserID("@x:elsewhere.org"): batch[1:2],
				}, nil
			}))
			request := fmt.Sprintf(`{"states":[%s,%s,%s]}`, update(bob, 1), update(remote, 2), update(bob, 3))
			got, err := s.ask(t, wire.UsersForStates, []byte(request))
			if err != nil || string(got) != tt.want {
				t.Errorf("users_for_states = %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestUsersForStatesPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	status := strings.Repeat("x", 1000)
	s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		chosen := everybody(userIDs(readers(500)...), batch)
		made := slices.Clone(batch)
		for i := range 3000 { // three times what one answer holds
			made = append(made, presence.UserState{
				UserID: presence.MustUserID(bob), State: presence.Online, LastActive: int64(10_000 + i), StatusMsg: presence.Status(status),
			})
		}
		chosen[presence.MustUserID("@reader00007:example.com")] = made
		return chosen, nil
	}))
	var batch states
	for i := range 10 {
		batch = append(batch, decodeUpdate(t, fmt.Sprintf(`{"user_id":%q,"state":"online","last_active_ts":%d,"x":%q}`, bob, i, status)))
	}
	got := make(map[string][]int64)
	r := wire.UsersForStatesRequest{States: batch}
	pages := 0
	for last := ""; pages == 0 || !r.After.IsZero(); pages++ {
		page := s.usersForStates(t, r)
		for i, u := range page.Users {
			user := u.UserID.String()
			if user < last || user == last && (i > 0 || r.AfterStates == 0) {
				t.Fatalf("%s comes again behind %s", user, last)
			}
			last = user
			for _, state := range u.States {
				got[user] = append(got[user], state.LastActive)
			}
		}
		r.After, r.AfterStates = page.Next, page.NextStates
	}
	if len(got) != 500 || pages < 8 || pages > 12 {
		t.Errorf("%d recipients on %d pages, want 500 on about 10", len(got), pages)
	}
	for user, times := range got {
		want := 10
		if user == "@reader00007:example.com" {
			want = 3010
		}
		if len(times) != want || !slices.IsSorted(times) || len(slices.Compact(times)) != want {
			t.Errorf("%s has %d states, want %d different ones in order", user, len(times), want)
		}
	}
}

func TestUsersForStatesRefusesWhatFitsNoAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, routerOf(t, func(_ context.Context, batch states) (answer, error) {
		large := batch[0]
		large.StatusMsg = presence.Status(strings.Repeat("x", int(s.nc.MaxPayload())))
		return answer{presence.MustUserID(alice): {large}}, nil
	}))
	_, err := s.ask(t, wire.UsersForStates, fmt.Appendf(nil, `{"states":[%s]}`, update(bob, 1)))
	wantQueryError(t, err, wire.CodeTooLarge, "state of @bob:example.com for @alice:example.com has", "fit an answer")
}

func decodeUpdate(t *testing.T, data string) presence.UserState {
	t.Helper()
	state, err := wire.DecodeUpdate([]byte(data), 1, len(data))
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestCurrentStates(t *testing.T) {
	t.Parallel()
	const remote, dora, viewer = "@eva:somewhere.org", "@dora:example.com", "@viewer:example.com"
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = 4 })
	s.start(t, matrix{alice: {bob, remote, "@nobody:example.com"}, viewer: {"*"}})
	updates := map[string]string{
		bob: update(bob, 3), remote: update(remote, 4), dora: strings.Replace(update(dora, 5), "online", "offline", 1),
	}
	s.publish(t, bob, 1)
	sequences := make(map[string]uint64)
	for _, user := range []string{remote, dora, bob} {
		sequences[user] = s.publishRaw(t, s.subjects.Update(presence.MustUserID(user)), updates[user], nil)
	}
	s.publishRaw(t, s.subjects.Update(presence.MustUserID("@broken:example.com")), `{"user_id":"@broken:example.com"}`, nil)
	s.publishRaw(t, s.subjects.Update(presence.MustUserID("@wrong:example.com")), update(bob, 9), nil)
	for user, data := range updates {
		s.awaitState(t, user, data)
	}
	s.awaitState(t, "@wrong:example.com", update(bob, 9))
	users := userIDs(remote, dora, bob, bob, "@broken:example.com", "@wrong:example.com", "@nobody:example.com")
	for _, tt := range []struct {
		name string
		r    wire.CurrentStatesRequest
		want []string
	}{
		{"everything", wire.CurrentStatesRequest{Users: users}, []string{bob, dora, remote}},
		{"after", wire.CurrentStatesRequest{Users: users, After: presence.MustUserID(bob)}, []string{dora, remote}},
		{"nobody", wire.CurrentStatesRequest{}, nil},
		{"nobody known", wire.CurrentStatesRequest{Users: userIDs("@nobody:example.com")}, nil},
		{"for one who sees some", wire.CurrentStatesRequest{Users: users, For: presence.MustUserID(alice)}, []string{bob, remote}},
		{"for one who sees all", wire.CurrentStatesRequest{Users: users[:2], For: presence.MustUserID(viewer)}, []string{dora, remote}},
		{"for one who sees nobody", wire.CurrentStatesRequest{Users: users, For: presence.MustUserID(dora)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := s.currentStates(t, tt.r)
			if len(page.States) != len(tt.want) || !page.Next.IsZero() {
				t.Fatalf("got %d states, next %s, want those of %v", len(page.States), page.Next, tt.want)
			}
			for i, user := range tt.want {
				got := page.States[i]
				p := got.State.Published()
				if string(p.JSON) != updates[user] || p.Position != sequences[user] || got.Epoch != s.epoch(t, user) {
					t.Errorf("state %d is %s at %d of epoch %d, want %s at %d of epoch %d",
						i, p.JSON, p.Position, got.Epoch, updates[user], sequences[user], s.epoch(t, user))
				}
			}
		})
	}
}

// epoch returns the epoch of user's partition.
func (s *site) epoch(t *testing.T, user string) int64 {
	t.Helper()
	c, _ := s.checkpoint(t, wire.Partition(presence.MustUserID(user), s.config.Streams.Partitions))
	return c.Epoch
}

func TestCurrentStatesPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, interested(t, func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil }))
	users := manyUsers(100)
	padding := bytes.Repeat([]byte("x"), 30_000)
	last := ""
	for _, user := range users {
		last = fmt.Sprintf(`{"user_id":%q,"state":"online","x":%q}`, user, padding)
		s.publishRaw(t, s.subjects.Update(user), last, nil)
	}
	s.awaitState(t, users[99].String(), last)
	var got []presence.UserID
	pages := 0
	for r := (wire.CurrentStatesRequest{Users: users}); pages == 0 || !r.After.IsZero(); pages++ {
		page := s.currentStates(t, r)
		for _, state := range page.States {
			got = append(got, state.State.UserID)
		}
		r.After = page.Next
	}
	if !slices.Equal(got, users) || pages != 3 {
		t.Errorf("%d users on %d pages, want 100 on 3", len(got), pages)
	}
}

// stateConnections hands out the connections on which workers to come read states.
func (s *site) stateConnections() <-chan *nats.Conn {
	made := make(chan *nats.Conn, 10)
	s.options = append(s.options, nats.ConnectHandler(func(nc *nats.Conn) {
		if strings.HasSuffix(nc.Opts.Name, " states") {
			made <- nc
		}
	}))
	return made
}

// A page is read, not everything behind it.
func TestCurrentStatesReadsWhatAPageHolds(t *testing.T) {
	t.Parallel()
	const viewer = "@viewer:example.com"
	s := newSite(t)
	made := s.stateConnections()
	users := manyUsers(300)
	s.start(t, matrix{viewer: {"*"}})
	nc := await(t, made, "connection for states")
	last := ""
	for _, user := range users {
		last = fmt.Sprintf(`{"user_id":%q,"state":"online","x":%q}`, user, bytes.Repeat([]byte("x"), 30_000))
		s.publishRaw(t, s.subjects.Update(user), last, nil)
	}
	s.awaitState(t, users[299].String(), last)
	for _, r := range []wire.CurrentStatesRequest{{Users: users}, {Users: users, For: presence.MustUserID(viewer)}} {
		before := nc.Stats().InBytes
		page := s.currentStates(t, r)
		read := nc.Stats().InBytes - before
		if most := 3 * uint64(s.nc.MaxPayload()); len(page.States) < 10 || read < 10*30_000 || read > most { //nolint:gosec // It is not negative.
			t.Errorf("for %q %d bytes are read for a page of %d states, want at least 10 states and %d at most", r.For, read, len(page.States), most)
		}
		if want := page.States[len(page.States)-1].State.UserID; page.Next != want {
			t.Errorf("for %q the next page is behind %s, want %s", r.For, page.Next, want)
		}
	}
}

// What the routers leave of a page may be nothing: there are others behind it.
func TestCurrentStatesHasPagesOfNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.Start = stream.Newest })
	users := manyUsers(100)
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, batch states) (answer, error) {
			return answer{presence.MustUserID(alice): slices.DeleteFunc(slices.Clone(batch), func(state presence.UserState) bool {
				return state.UserID != users[99]
			})}, nil
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil },
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, user := range users {
		last = fmt.Sprintf(`{"user_id":%q,"state":"online","x":%q}`, user, bytes.Repeat([]byte("x"), 30_000))
		s.publishRaw(t, s.subjects.Update(user), last, nil)
	}
	s.awaitState(t, users[99].String(), last)
	s.start(t, router)
	var got []presence.UserID
	pages := 0
	for r := (wire.CurrentStatesRequest{Users: users, For: presence.MustUserID(alice)}); pages == 0 || !r.After.IsZero(); pages++ {
		page := s.currentStates(t, r)
		for _, state := range page.States {
			got = append(got, state.State.UserID)
		}
		r.After = page.Next
	}
	if !slices.Equal(got, users[99:]) || pages != 3 {
		t.Errorf("got the states of %v on %d pages, want the last user's on 3", got, pages)
	}
}
