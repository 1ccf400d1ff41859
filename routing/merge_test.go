package routing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestRecipientsNameTheirRouters(t *testing.T) {
	bob, carl := at(1, "bob", 1), at(2, "carl", 2)
	d := newDispatcher(t,
		routesRouter(routes{local("zoe"): {bob}, local("alice"): {carl, bob}}),
		stub{route: func(context.Context, []presence.UserState) (routes, error) {
			return routes{local("alice"): {bob}}, errors.New("an answer beside an error does not count")
		}},
		routesRouter(nil),
		routesRouter(routes{local("alice"): {bob}, local("zoe"): {}, local("mia"): {}, local("nick"): nil}),
	)
	got := lines(d.UsersForStates(t.Context(), []presence.UserState{bob, carl}))
	want := []string{
		"@alice:example.com <- bob/1@1 carl/2@2 by r0,r3",
		"@zoe:example.com <- bob/1@1 by r0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("recipients %q, want %q", got, want)
	}
}

// TestRecipientsAreInOrderOfTheirBytes has recipients who differ at their first byte,
// far behind it, only in the last one, or only in length.
func TestRecipientsAreInOrderOfTheirBytes(t *testing.T) {
	many := make([]presence.UserID, 0, 600)
	for i := range cap(many) / 2 {
		many = append(many, id(fmt.Sprintf("@reader%d:example.com", i)), id(fmt.Sprintf("@a long way to go%d:example.com", i)))
	}
	for _, tt := range []struct {
		name       string
		recipients []presence.UserID
	}{
		{"one", []presence.UserID{local("alice")}},
		{"first byte", []presence.UserID{local("zoe"), local("alice"), local("é"), local("Zoe"), local("")}},
		{"far behind", []presence.UserID{local("behind the first 2"), local("behind the first 10"), local("behind the first 1")}},
		{"length", []presence.UserID{id("@a:e.org"), id("@a:e.or"), id("@a:e.org:8448"), id("@a:e.org.uk"), id("@a:e.o")}},
		{"many", many},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bob := at(1, "bob", 1)
			route := make(routes)
			for _, recipient := range tt.recipients {
				route[recipient] = []presence.UserState{bob}
			}
			var got []presence.UserID
			for _, r := range newDispatcher(t, routesRouter(route), routesRouter(route)).UsersForStates(t.Context(), []presence.UserState{bob}).Recipients {
				got = append(got, r.UserID)
			}
			want := slices.SortedFunc(slices.Values(tt.recipients), presence.UserID.Compare)
			if !slices.Equal(got, want) {
				t.Errorf("recipients %v, want %v", got, want)
			}
		})
	}
}

func TestSixtyFourRouters(t *testing.T) {
	bob := at(1, "bob", 1)
	routers := make([]routing.Router, routing.MaxRegistrations)
	for i := range routers {
		routers[i] = routesRouter(routes{local("alice"): {bob}})
	}
	result := newDispatcher(t, routers...).UsersForStates(t.Context(), []presence.UserState{bob})
	if len(result.Recipients) != 1 || len(result.Recipients[0].Routers()) != 64 || result.Recipients[0].Routers()[63] != "r63" {
		t.Errorf("recipients %v, want alice by r0 to r63", lines(result))
	}
}

func TestRecipientsDoNotShareRoom(t *testing.T) {
	bob := at(1, "bob", 1)
	d := newDispatcher(t, routesRouter(routes{local("alice"): {bob}, local("zoe"): {bob}}))
	result := d.UsersForStates(t.Context(), []presence.UserState{bob})
	_ = append(result.Recipients[0].States, madeUp("eve", 1))
	if got := text(result.Recipients[1].States); got != "bob/1@1" {
		t.Errorf("after appending to the first recipient's states the second has %s, want bob/1@1", got)
	}
}

func TestInvalidEntriesAreLeftOut(t *testing.T) {
	bob, carl := at(1, "bob", 1), at(2, "carl", 2)
	unknown, nobodys := bob, bob
	unknown.State = "away"
	nobodys.UserID = presence.UserID{}
	for _, tt := range []struct {
		name  string
		route routes
		want  error // of the failure; nil for any
		says  string
	}{
		{name: "unknown state", route: routes{local("alice"): {unknown, carl}}, want: presence.ErrInvalidState, says: "1 entries left out"},
		{name: "time before the epoch", route: routes{local("alice"): {carl, altered(bob, -1)}}, want: presence.ErrInvalidTime, says: "last_active_ts is -1"},
		{name: "state of nobody", route: routes{local("alice"): {nobodys, carl}}, want: presence.ErrInvalidUserID, says: "user_id"},
		{name: "nothing else for another recipient", route: routes{local("alice"): {carl}, local("zoe"): {unknown, nobodys}}, says: "2 entries"},
		{name: "recipient is nobody", route: routes{local("alice"): {carl}, presence.UserID{}: {bob}}, says: "a recipient has no user ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcher(t, routesRouter(nil), routesRouter(tt.route))
			result := d.UsersForStates(t.Context(), []presence.UserState{bob, carl})
			want := []string{"@alice:example.com <- carl/2@2 by r1"}
			if got := lines(result); !slices.Equal(got, want) {
				t.Errorf("recipients %q, want %q", got, want)
			}
			if len(result.Failures) != 1 {
				t.Fatalf("failures %v, want one", result.Failures)
			}
			f := result.Failures[0]
			if f.Router != "r1" || f.Kind != routing.KindInvalid || f.OnError != routing.Skip {
				t.Errorf("failure %+v, want kind invalid of r1 with policy skip", f)
			}
			if tt.want != nil && !errors.Is(f.Err, tt.want) || !strings.Contains(" "+f.Err.Error(), " "+tt.says) {
				t.Errorf("failure says %q, want %q and %v", f.Err, tt.says, tt.want)
			}
		})
	}
}

func TestNobodyButNobodyIsChosen(t *testing.T) {
	bob := at(1, "bob", 1)
	result := newDispatcher(t, routesRouter(routes{presence.UserID{}: {bob}})).UsersForStates(t.Context(), []presence.UserState{bob})
	if len(result.Recipients) > 0 || len(result.Failures) != 1 {
		t.Errorf("UsersForStates = %+v, want no recipient and one failure", result)
	}
}

// States that are next to each other in the batch are handed out as they stand there: the
// same to all recipients.
func TestNeighboursAreShared(t *testing.T) {
	const states = 200
	batch := make([]presence.UserState, states)
	for i := range batch {
		batch[i] = at(uint64(i+1), "bob", int64(i))
	}
	for _, tt := range []struct{ from, to int }{{0, 1}, {0, states}, {2, 5}, {63, 65}, {70, 80}, {60, 140}, {199, 200}} {
		chosen := batch[tt.from:tt.to]
		result := newDispatcher(t, routesRouter(routes{local("alice"): chosen, local("zoe"): chosen})).UsersForStates(t.Context(), batch)
		a, z := result.Recipients[0].States, result.Recipients[1].States
		if text(a) != text(chosen) || &a[0] != &z[0] || len(z) != len(chosen) {
			t.Errorf("%d to %d: alice gets %s, and zoe has the same: %t", tt.from, tt.to, text(a), &a[0] == &z[0])
		}
	}
	apart := []presence.UserState{batch[1], batch[130]}
	result := newDispatcher(t, routesRouter(routes{local("alice"): apart})).UsersForStates(t.Context(), batch)
	if got := text(result.Recipients[0].States); got != text(apart) {
		t.Errorf("alice gets %s, want %s", got, text(apart))
	}
}

func TestStatesOfOthersStayLocal(t *testing.T) {
	ours := at(1, "bob", 1)
	theirs := presence.UserState{UserID: id("@carl:somewhere.org"), State: presence.Online, LastActive: 2}.FromUpdate(nil, 2)
	theirsAgain := theirs.FromUpdate(nil, 3)
	foreign := presence.UserState{UserID: id("@eve:matrix.org"), State: presence.Online, LastActive: 7}
	everything := []presence.UserState{theirs, ours, altered(theirs, 4), altered(ours, 5), foreign, madeUp("dora", 6)}
	router := routesRouter(routes{
		local("alice"):           everything,
		id("@zoe:somewhere.org"): everything,
		id("@zoe:matrix.org"):    {theirs, foreign},
	})
	isLocal := func(server presence.ServerName) bool { return server == presence.MustServerName("example.com") }
	for _, tt := range []struct {
		name string
		opts []routing.Option
		want []string
	}{
		{name: "filtered", opts: []routing.Option{routing.WithLocalServers(isLocal)}, want: []string{
			"@alice:example.com <- bob/1@1 bob/5@1* carl/4@2* carl/2@3 dora/6 eve/7 by r0",
			"@zoe:somewhere.org <- bob/1@1 bob/5@1* dora/6 by r0",
		}},
		{name: "not filtered", want: []string{
			"@alice:example.com <- bob/1@1 bob/5@1* carl/4@2* carl/2@3 dora/6 eve/7 by r0",
			"@zoe:matrix.org <- carl/2@3 eve/7 by r0",
			"@zoe:somewhere.org <- bob/1@1 bob/5@1* carl/4@2* carl/2@3 dora/6 eve/7 by r0",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcherWith(t, tt.opts, router)
			result := d.UsersForStates(t.Context(), []presence.UserState{ours, theirs, theirsAgain})
			if got := lines(result); !slices.Equal(got, tt.want) {
				t.Errorf("recipients\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if len(result.Failures) > 0 {
				t.Errorf("failures %v, want none: a filtered state is no fault", result.Failures)
			}
		})
	}
}

func TestStatesThatNobodyMayHaveAreRefused(t *testing.T) {
	ours := at(1, "bob", 1)
	theirs := presence.UserState{UserID: id("@carl:somewhere.org"), State: presence.Online, LastActive: 2}.FromUpdate(nil, 2)
	others := presence.UserState{UserID: id("@eve:matrix.org"), State: presence.Online, LastActive: 3}.FromUpdate(nil, 5)
	foreign := presence.UserState{UserID: id("@eve:matrix.org"), State: presence.Online, LastActive: 7}
	zoe, alice := id("@zoe:matrix.org"), local("alice")
	isLocal := func(server presence.ServerName) bool { return server == presence.MustServerName("example.com") }
	for _, tt := range []struct {
		name  string
		route routes
		want  []uint64
	}{
		{"one", routes{zoe: {theirs}}, []uint64{2}},
		{"one of several", routes{zoe: {ours, others, theirs}}, []uint64{2, 5}},
		{"altered", routes{zoe: {altered(theirs, 4)}}, []uint64{2}},
		{"of an update before", routes{zoe: {foreign.FromUpdate(nil, 4)}}, []uint64{4}},
		{"made up", routes{zoe: {foreign}}, nil},
		{"another recipient may have it", routes{zoe: {theirs, others}, alice: {theirs}}, []uint64{5}},
		{"everybody may have it", routes{zoe: {ours}, alice: {theirs}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcherWith(t, []routing.Option{routing.WithLocalServers(isLocal)}, routesRouter(tt.route))
			if got := d.UsersForStates(t.Context(), []presence.UserState{ours, theirs, others}).Refused; !slices.Equal(got, tt.want) {
				t.Errorf("refused are %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFilteredRouterDidNotChoose(t *testing.T) {
	theirs := presence.UserState{UserID: id("@carl:somewhere.org"), State: presence.Online}.FromUpdate(nil, 1)
	ours := at(2, "bob", 1)
	zoe := id("@zoe:matrix.org")
	isLocal := func(server presence.ServerName) bool { return server == presence.MustServerName("example.com") }
	d := newDispatcherWith(t, []routing.Option{routing.WithLocalServers(isLocal)},
		routesRouter(routes{zoe: {theirs}}), routesRouter(routes{zoe: {theirs, ours}}))
	got := lines(d.UsersForStates(t.Context(), []presence.UserState{theirs, ours}))
	if want := []string{"@zoe:matrix.org <- bob/1@2 by r1"}; !slices.Equal(got, want) {
		t.Errorf("recipients %q, want %q", got, want)
	}
}

func TestNoRouters(t *testing.T) {
	d := newDispatcher(t)
	if result := d.UsersForStates(t.Context(), []presence.UserState{at(1, "bob", 1)}); len(result.Recipients)+len(result.Failures) > 0 {
		t.Errorf("UsersForStates = %+v, want nothing", result)
	}
	result, err := d.InterestedUsers(t.Context(), local("alice"))
	if err != nil || result.Interest.IsAll() || len(result.Interest.Users()) > 0 {
		t.Errorf("InterestedUsers = %+v, %v, want nobody", result, err)
	}
}
