package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

// users returns n user IDs in order.
func users(n int) []presence.UserID {
	ids := make([]presence.UserID, n)
	for i := range ids {
		ids[i] = presence.MustUserID(fmt.Sprintf("@user%06d:example.com", i))
	}
	return ids
}

// collect returns all that is yielded, and the error that ends it.
func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for one, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, nil
}

func TestInterestedUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	many := users(25_000)
	var asked atomic.Int32
	s.work(t, routes{interestedUsers: func(user presence.UserID) routing.Interest {
		asked.Add(1)
		switch user.Localpart() {
		case "many":
			return routing.Users(many...)
		case "all":
			return routing.All()
		default:
			return routing.Users()
		}
	}})
	c := newClient(t, s.server.URL())
	tests := []struct {
		user string
		all  bool
		want []presence.UserID
	}{
		{"@none:example.com", false, nil},
		{"@all:example.com", true, nil},
		{"@many:example.com", false, many},
	}
	for _, tt := range tests {
		t.Run(tt.user, func(t *testing.T) {
			interest, err := c.InterestedUsers(t.Context(), presence.MustUserID(tt.user))
			if err != nil {
				t.Fatal(err)
			}
			got, err := collect(interest.Users(t.Context()))
			if err != nil || interest.All != tt.all || !slices.Equal(got, tt.want) {
				t.Errorf("all is %v and %d users, %v, want %v and %d", interest.All, len(got), err, tt.all, len(tt.want))
			}
		})
	}
	before := asked.Load()
	interest, err := c.InterestedUsers(t.Context(), presence.MustUserID("@many:example.com"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range interest.Users(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if got := asked.Load() - before; got != 1 {
		t.Errorf("the router is asked %d times for the first user, want once", got)
	}
}

func TestUsersForStates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.work(t, routes{usersForStates: func(given states) recipients {
		var large states
		for i := range 30 { // more than one answer holds
			state := given[0]
			state.LastActive = int64(i)
			state.StatusMsg = presence.Status(strings.Repeat("x", 60<<10))
			large = append(large, state)
		}
		return recipients{presence.MustUserID(alice): given, presence.MustUserID(bob): large, presence.MustUserID("@carol:example.com"): given}
	}})
	given := states{update(eva, 1).State, update("@dave:example.com", 2).State}
	want := make(map[string][]int64)
	got, err := collect(newClient(t, s.server.URL()).UsersForStates(t.Context(), given))
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range got {
		for _, state := range user.States {
			want[user.UserID.String()] = append(want[user.UserID.String()], state.LastActive)
		}
	}
	var numbers []int64
	for i := range int64(30) {
		numbers = append(numbers, i)
	}
	// A homeserver speaks for its own users only: eva's state is for local users.
	if w := (map[string][]int64{alice: {1, 2}, "@carol:example.com": {1, 2}, bob: numbers}); !reflect.DeepEqual(want, w) {
		t.Errorf("recipients get %v, want %v", want, w)
	}
}

func TestSendOnlinePresence(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.work(t, routes{interestedUsers: func(user presence.UserID) routing.Interest {
		if user.String() == alice {
			return routing.Users(presence.MustUserID(bob))
		}
		return routing.Users()
	}})
	c := newClient(t, s.server.URL())
	s.known(t, c, bob)
	asked := append(users(1100), presence.MustUserID(alice))
	sent, err := c.SendOnlinePresence(t.Context(), asked)
	if err != nil || len(sent) != len(asked) {
		t.Fatalf("%d users were sent something, %v, want %d", len(sent), err, len(asked))
	}
	for _, user := range sent {
		if want := map[bool]int{true: 1, false: 0}[user.UserID.String() == alice]; user.States != want {
			t.Errorf("%s was sent %d states, want %d", user.UserID, user.States, want)
		}
	}
	r := deliveries(t, c, client.ToUser(presence.MustUserID(alice)), client.Position{})
	if d := r.want(t); !d.IsReplay || d.States[0].UserID.String() != bob || d.Sequences[0] != 1 {
		t.Errorf("delivered is %+v, want bob's state as it was", d)
	}
}

// known publishes an update of user and waits until queries know it.
func (s *site) known(t *testing.T, c *client.Client, user string) {
	t.Helper()
	p := publisher(t, c)
	if err := errors.Join(p.Publish(t.Context(), update(user, 1), nil), p.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "state of "+user, func() bool {
		states, err := collect(c.CurrentStates(t.Context(), []presence.UserID{presence.MustUserID(user)}, presence.UserID{}))
		return err == nil && len(states) == 1
	})
}

func TestCurrentStates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.work(t, routes{interestedUsers: func(presence.UserID) routing.Interest { return routing.Users(presence.MustUserID(bob)) }})
	c := newClient(t, s.server.URL())
	s.known(t, c, bob)
	s.known(t, c, eva)
	asked := append([]presence.UserID{presence.MustUserID(bob)}, append(users(1100), presence.MustUserID(eva))...)
	tests := []struct {
		name   string
		viewer string
		want   []string
	}{
		{"everything", "", []string{bob, eva}},
		{"what alice may see", alice, []string{bob}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var viewer presence.UserID
			if tt.viewer != "" {
				viewer = presence.MustUserID(tt.viewer)
			}
			states, err := collect(c.CurrentStates(t.Context(), asked, viewer))
			var got []string
			for _, state := range states {
				got = append(got, state.State.UserID.String())
				if state.Epoch == 0 || state.State.Published().Position == 0 {
					t.Errorf("state of %s has no place: %+v", state.State.UserID, state)
				}
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("states of %v, %v, want those of %v", got, err, tt.want)
			}
		})
	}
}

func TestQueryErrorsHaveACode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	nc := natstest.Connect(t, s.server.URL())
	c, err := client.New(nc, client.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.InterestedUsers(t.Context(), presence.MustUserID(alice)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("InterestedUsers() = %v without a worker, want that nobody answers", err)
	}
	if told := nc.Stats().InMsgs; told != 5 {
		t.Errorf("the server has told %d times that nobody is there, want 5", told)
	}
	s.work(t, routes{})
	_, err = collect(c.CurrentStates(t.Context(), users(1), presence.MustUserID(eva)))
	q, ok := errors.AsType[*wire.QueryError](err)
	if !ok || q.Code != wire.CodeNotLocal || !strings.Contains(q.Error(), `for is "`+eva) {
		t.Errorf("CurrentStates() for %s = %v, want code 403 and a sentence", eva, err)
	}
	large := update(bob, 1).State
	large.StatusMsg = presence.Status(strings.Repeat("x", 100<<10))
	_, err = collect(c.UsersForStates(t.Context(), states{large}))
	if q, ok := errors.AsType[*wire.QueryError](err); !ok || q.Code != wire.CodeTooLarge {
		t.Errorf("UsersForStates() = %v, want code 413", err)
	}
	if _, err = collect(c.UsersForStates(t.Context(), slices.Repeat(states{large}, 20))); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("UsersForStates() = %v, want that the request is too large", err)
	}
}

func TestQueryIsAskedAgainWhereAReplicaCannotAnswer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.play(t, wire.InterestedUsers, reply{code: "503"}, reply{code: "503"}, reply{answer: []byte(`{"all_users":true}`)})
	s.play(t, wire.SendOnlinePresence, reply{code: "503"})
	c := newClient(t, s.server.URL())
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if interest, err := c.InterestedUsers(ctx, presence.MustUserID(alice)); err != nil || !interest.All {
		t.Errorf("InterestedUsers() = %v, %v, want the answer of the third attempt", interest, err)
	}
	_, err := c.SendOnlinePresence(ctx, users(1))
	if q, ok := errors.AsType[*wire.QueryError](err); !ok || q.Code != wire.CodeUnavailable || !strings.Contains(err.Error(), "not now") {
		t.Errorf("SendOnlinePresence() = %v, want code 503 in the end", err)
	}
}

func TestQueryIsAskedAgainWhereNobodyAnswersInTime(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.play(t, wire.InterestedUsers, reply{none: true}, reply{answer: []byte(`{"all_users":true}`)})
	s.play(t, wire.SendOnlinePresence, reply{none: true}, reply{answer: []byte(`{"users":{"@bob:example.com":{"states":2}}}`)})
	s.play(t, wire.CurrentStates, reply{none: true})
	// One timeout is too long to be waited for, so that a test which hangs took the wrong one.
	questions := newClient(t, s.server.URL(), client.WithQueryTimeout(100*time.Millisecond), client.WithReplayTimeout(time.Hour))
	if interest, err := questions.InterestedUsers(t.Context(), presence.MustUserID(alice)); err != nil || !interest.All {
		t.Errorf("InterestedUsers() = %v, %v, want the answer of the second attempt", interest, err)
	}
	if _, err := collect(questions.CurrentStates(t.Context(), users(1), presence.UserID{})); !errors.Is(err, client.ErrNoAnswer) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("CurrentStates() = %v, want that nobody answers", err)
	}
	replays := newClient(t, s.server.URL(), client.WithQueryTimeout(time.Hour), client.WithReplayTimeout(100*time.Millisecond))
	if sent, err := replays.SendOnlinePresence(t.Context(), users(1)); err != nil || len(sent) != 1 || sent[0].States != 2 {
		t.Errorf("SendOnlinePresence() = %v, %v, want the answer of the second attempt", sent, err)
	}
}

func TestQueryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.play(t, wire.InterestedUsers, reply{none: true})
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, enough)
	defer cancel()
	if _, err := newClient(t, s.server.URL()).InterestedUsers(ctx, presence.MustUserID(alice)); !errors.Is(err, enough) {
		t.Errorf("InterestedUsers() = %v, want the cause of the end", err)
	}
}

// What is asked while the connection is away is asked again, and says why where
// that does not help.
func TestQueryWithoutAConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := newClient(t, s.server.URL(), client.WithQueryTimeout(20*time.Millisecond))
	s.server.Shutdown()
	_, err := c.InterestedUsers(t.Context(), presence.MustUserID(alice))
	if err == nil || !strings.Contains(err.Error(), "the connection to NATS is away") {
		t.Errorf("InterestedUsers() = %v, want that the connection is away", err)
	}
}

func TestClientTimeoutsHaveBounds(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Run(t).URL())
	_, err := client.New(nc, client.DefaultPrefix, client.WithQueryTimeout(0), client.WithReplayTimeout(3*time.Hour))
	for _, part := range []string{"query timeout is 0s: want 10ms to 1h0m0s", "replay timeout is 3h0m0s: want 10ms to 2h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("New() = %v, want %q in it", err, part)
		}
	}
}

func TestQueryPagesHaveToAdvance(t *testing.T) {
	t.Parallel()
	page := []byte(`{"all_users":false,"users":["@a:b"],"next":"@a:b"}`)
	tests := []struct {
		name    string
		replies []reply
		want    error
	}{
		{"stuck", []reply{{answer: page}}, nil},
		{"all by now", []reply{{answer: page}, {answer: []byte(`{"all_users":true}`)}}, client.ErrBecameAll},
		{"no answer", []reply{{answer: page}, {answer: []byte(`{}`)}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.play(t, wire.InterestedUsers, tt.replies...)
			interest, err := newClient(t, s.server.URL()).InterestedUsers(t.Context(), presence.MustUserID(alice))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			got, err := collect(interest.Users(ctx))
			if err == nil || len(got) != 1 || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("users are %v, %v, want one and an error", got, err)
			}
		})
	}
}
