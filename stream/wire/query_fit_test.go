package wire_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// manyIDs returns n user IDs in order, some with characters that JSON escapes.
func manyIDs(n int) []presence.UserID {
	ids := make([]presence.UserID, n)
	for i := range ids {
		ids[i] = presence.MustUserID(fmt.Sprintf("@%05d%s:example.com", i, strings.Repeat("\x01", i%7/5)))
	}
	return ids
}

func fits(t *testing.T, page message, maxBytes int) {
	t.Helper()
	if size := len(page.Append(nil)); size > maxBytes {
		t.Errorf("a page has %d bytes, at most %d are allowed", size, maxBytes)
	}
}

func TestInterestedUsersPages(t *testing.T) {
	const maxBytes = 20_000
	want := manyIDs(1000)
	var got []presence.UserID
	for rest, pages := want, 1; ; pages++ {
		page := wire.InterestedUsersAnswer{Users: rest}.Fit(maxBytes)
		fits(t, page, maxBytes)
		got = append(got, page.Users...)
		if page.Next.IsZero() {
			if pages > 4 {
				t.Errorf("%d pages of %d bytes for %d users", pages, maxBytes, len(want))
			}
			break
		}
		if page.Next != page.Users[len(page.Users)-1] {
			t.Fatalf("next is %s, want the last user %s", page.Next, page.Users[len(page.Users)-1])
		}
		rest = rest[len(page.Users):]
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages have %d users, want the same %d", len(got), len(want))
	}
}

func TestSendOnlinePresencePages(t *testing.T) {
	const maxBytes = 4000
	var rest []wire.SentStates
	for _, id := range manyIDs(1000) {
		rest = append(rest, wire.SentStates{UserID: id, States: 1<<31 - 1})
	}
	done := 0
	for next := presence.MustUserID("@:a"); !next.IsZero(); {
		page := wire.SendOnlinePresenceAnswer{Users: rest}.Fit(maxBytes)
		fits(t, page, maxBytes)
		done += len(page.Users)
		rest, next = rest[len(page.Users):], page.Next
	}
	if done != 1000 || len(rest) != 0 {
		t.Errorf("the pages have %d users, want 1000", done)
	}
}

func TestUsersForStatesPages(t *testing.T) {
	altered := decode(t, fullUpdate, 3)
	altered.StatusMsg = presence.Status("\x01\x02\x03")
	var want []wire.UserStates
	for i, id := range manyIDs(100) {
		want = append(want, wire.UserStates{UserID: id, States: slices.Repeat([]presence.UserState{decode(t, fullUpdate, 1), altered}, 1+i%9)})
	}
	for _, maxBytes := range []int{2300, 3000, 10_000, 1 << 20} {
		var got []wire.UserStates
		for rest := want; len(rest) > 0; {
			page, err := wire.UsersForStatesAnswer{Users: rest}.Fit(maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			fits(t, page, maxBytes)
			got, rest = appendPage(got, page), behindPage(rest, page)
		}
		if len(got) != len(want) {
			t.Fatalf("the pages have %d users, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i].UserID != want[i].UserID || !slices.Equal(got[i].States, want[i].States) {
				t.Errorf("%s has %d states in pages of %d bytes, want the same %d", want[i].UserID, len(got[i].States), maxBytes, len(want[i].States))
			}
		}
	}
}

// appendPage appends a page to pages, whose last user it may go on with.
func appendPage(pages []wire.UserStates, page wire.UsersForStatesAnswer) []wire.UserStates {
	for _, u := range page.Users {
		if last := len(pages) - 1; last >= 0 && pages[last].UserID == u.UserID {
			pages[last].States = slices.Concat(pages[last].States, u.States)
			continue
		}
		pages = append(pages, u)
	}
	return pages
}

// behindPage returns what of users is not in page, the first page of them.
func behindPage(users []wire.UserStates, page wire.UsersForStatesAnswer) []wire.UserStates {
	if page.Next.IsZero() {
		return nil
	}
	if page.NextStates == 0 {
		return users[len(page.Users):]
	}
	rest := slices.Clone(users)
	rest[0].States = rest[0].States[page.NextStates:]
	return rest
}

func TestCurrentStatesPages(t *testing.T) {
	var want []wire.PlacedState
	for i, id := range manyIDs(300) {
		state := presence.UserState{UserID: id, State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", i))}
		want = append(want, slices.Repeat([]wire.PlacedState{{Epoch: int64(i), State: state}}, 1+i%2)...)
	}
	for _, maxBytes := range []int{6500, 100_000, 1 << 20} {
		var got []wire.PlacedState
		for rest := want; len(rest) > 0; {
			page, err := wire.CurrentStatesAnswer{States: rest}.Fit(maxBytes)
			if err != nil {
				t.Fatal(err)
			}
			fits(t, page, maxBytes)
			got, rest = append(got, page.States...), rest[len(page.States):]
			if len(rest) > 0 && page.Next != page.States[len(page.States)-1].State.UserID || len(rest) > 0 && rest[0].State.UserID == page.Next {
				t.Fatalf("next is %s, want the last user of the page, whole", page.Next)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the pages have %d states, want the same %d", len(got), len(want))
		}
	}
}

func TestFitRefusesWhatFitsNoAnswer(t *testing.T) {
	large := presence.UserState{UserID: presence.MustUserID("@bob:b"), State: presence.Online, StatusMsg: presence.Status(strings.Repeat("x", 5000))}
	alice := presence.MustUserID("@alice:a")
	_, usersErr := wire.UsersForStatesAnswer{Users: []wire.UserStates{{UserID: alice, States: []presence.UserState{large}}}}.Fit(4000)
	_, statesErr := wire.CurrentStatesAnswer{States: []wire.PlacedState{{State: large}}}.Fit(4000)
	for _, err := range []error{usersErr, statesErr} {
		checkMessage(t, err, "@bob:b", "fit an answer")
		if q, ok := errors.AsType[*wire.QueryError](err); !ok || q.Code != wire.CodeTooLarge {
			t.Errorf("error is %v, want code 413", err)
		}
	}
}

// A page takes what fits: the sizes it reckons with are those that are written.
func TestPagesAreFull(t *testing.T) {
	const maxBytes = 50_000
	state := presence.UserState{
		UserID: presence.MustUserID("@b☕\"b\\:example.com"), State: "x.\u2028y", StatusMsg: presence.Status("lunch ☕\n\x01\xff\ufffd\u2029" + strings.Repeat("ü", 1000)),
	}
	var answer wire.UsersForStatesAnswer
	for _, id := range manyIDs(100) {
		answer.Users = append(answer.Users, wire.UserStates{UserID: id, States: []presence.UserState{state}})
	}
	page, err := answer.Fit(maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	fits(t, page, maxBytes)
	page.Users = answer.Users[:len(page.Users)+3]
	if size := len(page.Append(nil)); size <= maxBytes {
		t.Errorf("three more recipients make %d bytes, which fits %d", size, maxBytes)
	}
}
