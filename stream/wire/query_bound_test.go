package wire_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// longest is the user ID that takes the most room as JSON. A page keeps room for it as
// the last user, whoever that is.
func longest() presence.UserID {
	return presence.MustUserID("@" + strings.Repeat("\x01", presence.MaxUserIDBytes-len("@:a")) + ":a")
}

// slack is what a page keeps for longest and does not use.
func slack() int {
	const kept = 6*presence.MaxUserIDBytes + len(`""`)
	with := wire.InterestedUsersAnswer{Next: longest()}.Append(nil)
	without := wire.InterestedUsersAnswer{}.Append(nil)
	return kept + len(`,"next":`) - (len(with) - len(without))
}

// Sizes are those that are written, whatever has to be escaped, and a page takes what
// fits to the byte.
func TestUsersFillAPage(t *testing.T) {
	const commas = 1 // behind the last one
	second := presence.MustUserID("@z:example.com")
	for _, localpart := range []string{"plain", `"`, `\`, "a space", "\x01", "\n\t", "\x1f", "é", "☕", "😀", "\u2028", "\u2029", "\ufffd"} {
		first := presence.MustUserID("@" + localpart + ":example.com")
		whole := wire.InterestedUsersAnswer{Users: []presence.UserID{first, second}}
		room := len(wire.InterestedUsersAnswer{Users: whole.Users, Next: longest()}.Append(nil)) + slack() + commas
		if page := whole.Fit(room); len(page.Users) != 2 || !page.Next.IsZero() {
			t.Errorf("%q: %d bytes of room for two users, and the page is %v", localpart, room, page)
		}
		if page := whole.Fit(room - 1); len(page.Users) != 1 || page.Next != first {
			t.Errorf("%q: a byte less than room for two users, and the page is %v", localpart, page)
		}
	}
	text := string(wire.InterestedUsersAnswer{Users: []presence.UserID{presence.MustUserID("@\ufffd:a")}}.Append(nil))
	if !strings.Contains(text, "\"@\ufffd:a\"") {
		t.Errorf("written is %s, want U+FFFD as it is", text)
	}
}

func TestPageHasOneUserAtLeast(t *testing.T) {
	ids := manyIDs(3)
	if page := (wire.InterestedUsersAnswer{Users: ids}).Fit(1); len(page.Users) != 1 || page.Next != ids[0] {
		t.Errorf("interested users are %v, want the first", page)
	}
	sent := []wire.SentStates{{UserID: ids[0]}, {UserID: ids[1]}, {UserID: ids[2]}}
	if page := (wire.SendOnlinePresenceAnswer{Users: sent}).Fit(1); len(page.Users) != 1 || page.Next != ids[0] {
		t.Errorf("users that states were sent to are %v, want the first", page)
	}
}

func TestSentStatesFillAPage(t *testing.T) {
	const commas = 1
	sent := []wire.SentStates{{UserID: manyIDs(2)[0], States: math.MaxInt32}, {UserID: manyIDs(2)[1], States: math.MaxInt32}}
	room := len(wire.SendOnlinePresenceAnswer{Users: sent, Next: longest()}.Append(nil)) + slack() + commas
	whole := wire.SendOnlinePresenceAnswer{Users: sent}
	if page := whole.Fit(room); len(page.Users) != 2 || !page.Next.IsZero() {
		t.Errorf("%d bytes of room for two users, and the page is %v", room, page)
	}
	if page := whole.Fit(room - 1); len(page.Users) != 1 || page.Next != sent[0].UserID {
		t.Errorf("a byte less than room for two users, and the page is %v", page)
	}
}

func TestStatesFillAPage(t *testing.T) {
	state := decode(t, fullUpdate, math.MaxUint64)
	user := wire.UserStates{UserID: presence.MustUserID("@alice:a"), States: []presence.UserState{state}}
	const commasOfUser, commasOfState = 2, 3
	room := len(wire.UsersForStatesAnswer{Users: []wire.UserStates{user}, Next: longest(), NextStates: math.MaxInt32}.Append(nil)) + slack() + commasOfUser
	if page, err := (wire.UsersForStatesAnswer{Users: []wire.UserStates{user}}).Fit(room); err != nil || len(page.Users) != 1 || !page.Next.IsZero() {
		t.Errorf("%d bytes of room for a state, and the page is %v, %v", room, page, err)
	}
	if _, err := (wire.UsersForStatesAnswer{Users: []wire.UserStates{user}}).Fit(room - 1); err == nil {
		t.Error("a byte less than room for a state, and there is no error")
	}
	placed := wire.CurrentStatesAnswer{States: []wire.PlacedState{{Epoch: math.MaxInt64, State: state}}}
	room = len(wire.CurrentStatesAnswer{States: placed.States, Next: longest()}.Append(nil)) + slack() + commasOfState
	if page, err := placed.Fit(room); err != nil || len(page.States) != 1 || !page.Next.IsZero() {
		t.Errorf("%d bytes of room for a current state, and the page is %v, %v", room, page, err)
	}
	if _, err := placed.Fit(room - 1); err == nil {
		t.Error("a byte less than room for a current state, and there is no error")
	}
}

// Nothing makes a page larger than it may be, however much there is of it.
func TestPagesOfMuchFit(t *testing.T) {
	const maxBytes = 200_000
	published := decode(t, `{"user_id":"@b:a","state":"busy"}`, 1)
	tests := []struct {
		name   string
		ids    int
		states []presence.UserState
	}{
		{"users", 5000, []presence.UserState{published}},
		{"states", 1, slices.Repeat([]presence.UserState{published}, 10_000)},
		{"long IDs", 1, slices.Repeat([]presence.UserState{{UserID: longest(), State: presence.Online, LastActive: math.MaxInt64}}, 1000)},
		{"long states", 1, slices.Repeat([]presence.UserState{{UserID: presence.MustUserID("@b:a"), State: presence.State("." + strings.Repeat("x", 1000))}}, 1000)},
		{"no UTF-8", 1, slices.Repeat([]presence.UserState{{UserID: presence.MustUserID("@b:a"), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("\xff", 1000))}}, 1000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var answer wire.UsersForStatesAnswer
			for _, id := range manyIDs(tt.ids) {
				answer.Users = append(answer.Users, wire.UserStates{UserID: id, States: tt.states})
			}
			page, err := answer.Fit(maxBytes)
			if err != nil || page.Next.IsZero() {
				t.Fatalf("the page is %v, %v, want one of several", page, err)
			}
			fits(t, page, maxBytes)
		})
	}
}
