package routing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// at is the state of a user of example.com as published at position; last_active_ts
// makes states the same or different.
func at(position uint64, user string, lastActive int64) presence.UserState {
	return madeUp(user, lastActive).FromUpdate(fmt.Appendf(nil, "update %d", position), position)
}

// madeUp is the state of a user of example.com without an update.
func madeUp(user string, lastActive int64) presence.UserState {
	return presence.UserState{UserID: local(user), State: presence.Online, LastActive: lastActive}
}

// altered is a copy of s with another last_active_ts.
func altered(s presence.UserState, lastActive int64) presence.UserState {
	s.LastActive = lastActive
	return s
}

func local(user string) presence.UserID { return id("@" + user + ":example.com") }

// text writes states as user, last_active_ts and the position of the update, with *
// where the state was altered.
func text(states []presence.UserState) string {
	var words []string
	for _, s := range states {
		word := fmt.Sprintf("%s/%d", s.UserID.Localpart(), s.LastActive)
		if p := s.Published(); p != nil {
			word += fmt.Sprintf("@%d", p.Position)
			if s.Altered() {
				word += "*"
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestDeliveryOrder(t *testing.T) {
	bob1, carl, bob2 := at(10, "bob", 1), at(20, "carl", 2), at(30, "bob", 3)
	bob1Again := at(40, "bob", 1)
	batch := []presence.UserState{bob1, carl, bob2}
	repeating := []presence.UserState{bob1, carl, bob2, bob1Again}
	bare := []presence.UserState{madeUp("bob", 1), madeUp("carl", 2), madeUp("bob", 3)}
	for _, tt := range []struct {
		name  string
		batch []presence.UserState
		a, b  []presence.UserState // what two routers give the recipient
		want  string
	}{
		{name: "by position", batch: batch, a: []presence.UserState{bob2, bob1, carl}, want: "bob/1@10 carl/2@20 bob/3@30"},
		{name: "union", batch: batch, a: []presence.UserState{bob2, carl}, b: []presence.UserState{carl, bob1}, want: "bob/1@10 carl/2@20 bob/3@30"},
		{name: "given twice", batch: batch, a: []presence.UserState{carl, carl}, b: []presence.UserState{carl}, want: "carl/2@20"},
		{name: "identical to a later one", batch: repeating, a: repeating, want: "carl/2@20 bob/3@30 bob/1@40"},
		{name: "the earlier of two identical alone", batch: repeating, a: []presence.UserState{bob1, bob2}, want: "bob/3@30 bob/1@40"},
		{name: "made up, same as an input", batch: batch, a: []presence.UserState{madeUp("bob", 3), madeUp("bob", 1)}, want: "bob/1@10 bob/3@30"},
		{name: "made up, same as two inputs", batch: repeating, a: []presence.UserState{madeUp("bob", 1)}, want: "bob/1@40"},
		{name: "another update, same as an input", batch: batch, a: []presence.UserState{at(99, "carl", 2)}, want: "carl/2@20"},
		{name: "altered", batch: batch, a: []presence.UserState{altered(bob2, 8), altered(bob1, 9)}, want: "bob/9@10* bob/8@30*"},
		{name: "altered after unaltered", batch: batch, a: []presence.UserState{altered(bob1, 0)}, b: []presence.UserState{bob2, bob1}, want: "bob/1@10 bob/0@10* bob/3@30"},
		{name: "altered twice", batch: batch, a: []presence.UserState{altered(bob1, 8)}, b: []presence.UserState{altered(bob1, 7)}, want: "bob/7@10* bob/8@10*"},
		{name: "altered alike", batch: batch, a: []presence.UserState{altered(bob1, 8)}, b: []presence.UserState{altered(bob1, 8)}, want: "bob/8@10*"},
		{name: "two altered into the same", batch: batch, a: []presence.UserState{altered(bob2, 8), altered(bob1, 8)}, want: "bob/8@30*"},
		{name: "altered into a later input", batch: batch, a: []presence.UserState{altered(bob1, 3)}, want: "bob/3@30"},
		{name: "altered into an earlier input", batch: batch, a: []presence.UserState{altered(bob2, 1)}, b: batch, want: "carl/2@20 bob/3@30 bob/1@30*"},
		{name: "altered into another user's", batch: batch, a: []presence.UserState{altered(bob1, 2)}, want: "bob/2@10*"},
		{name: "altered back", batch: batch, a: []presence.UserState{altered(altered(bob1, 5), 1)}, want: "bob/1@10"},
		{name: "made up", batch: batch, a: []presence.UserState{madeUp("carl", 8), madeUp("bob", 8), madeUp("carl", 7), carl}, want: "carl/2@20 carl/7 bob/8 carl/8"},
		{name: "made up, same as an altered copy", batch: batch, a: []presence.UserState{altered(bob1, 9), bob2}, b: []presence.UserState{madeUp("bob", 9)}, want: "bob/9@10* bob/3@30"},
		{name: "an update before the batch", batch: batch, a: []presence.UserState{carl, at(5, "dora", 1)}, want: "dora/1@5 carl/2@20"},
		{name: "an update between two of the batch", batch: batch, a: []presence.UserState{bob2, at(25, "dora", 1), bob1}, want: "bob/1@10 dora/1@25 bob/3@30"},
		{name: "an update after the batch", batch: batch, a: []presence.UserState{at(99, "dora", 1), bob2, madeUp("eve", 1)}, want: "bob/3@30 dora/1@99 eve/1"},
		{name: "a batch without updates", batch: bare, a: []presence.UserState{bare[2], bare[0]}, b: []presence.UserState{bare[1], madeUp("bob", 4)}, want: "bob/1 carl/2 bob/3 bob/4"},
		{name: "an update beside a batch without updates", batch: bare, a: []presence.UserState{bare[2], at(2, "dora", 1), bare[0], bare[1]}, want: "bob/1 carl/2 dora/1@2 bob/3"},
		{name: "another update in the place of an input", batch: batch, a: []presence.UserState{at(30, "bob", 1), at(20, "dora", 1)}, want: "bob/1@10 dora/1@20"},
		{name: "an empty batch", a: []presence.UserState{madeUp("bob", 4)}, want: "bob/4"},
		{name: "nothing", batch: batch, a: []presence.UserState{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			alice := local("alice")
			a, b := routesRouter(routes{alice: tt.a}), routesRouter(routes{alice: tt.b})
			for name, d := range map[string]*routing.Dispatcher{"a, b": newDispatcher(t, a, b), "b, a": newDispatcher(t, b, a)} {
				result := d.UsersForStates(t.Context(), tt.batch)
				if len(result.Failures) > 0 {
					t.Errorf("routers %s: failures %v, want none", name, result.Failures)
				}
				if tt.want == "" {
					if len(result.Recipients) > 0 {
						t.Errorf("routers %s: %d recipients, want none", name, len(result.Recipients))
					}
					continue
				}
				if len(result.Recipients) != 1 || text(result.Recipients[0].States) != tt.want {
					t.Errorf("routers %s: recipients %v, want alice with %s", name, lines(result), tt.want)
				}
			}
		})
	}
}

// TestManyRepeatedStatesCountAsTheLast has a hundred users with three states each, of
// which the last says what the first did.
func TestManyRepeatedStatesCountAsTheLast(t *testing.T) {
	var batch []presence.UserState
	var want []string
	for i := range 300 {
		user, lastActive := fmt.Sprintf("user%d", i%100), int64(i%200)
		batch = append(batch, at(uint64(i)+1, user, lastActive))
		if i >= 100 {
			want = append(want, fmt.Sprintf("%s/%d@%d", user, lastActive, i+1))
		}
	}
	d := newDispatcher(t, routesRouter(routes{local("alice"): batch}))
	got := text(d.UsersForStates(t.Context(), batch).Recipients[0].States)
	if got != strings.Join(want, " ") {
		t.Errorf("states %s, want %s", got, strings.Join(want, " "))
	}
}

// TestManyOthersAreInOrder gives more states with one position than a sort keeps in
// their order by chance.
func TestManyOthersAreInOrder(t *testing.T) {
	bob := at(10, "bob", 1)
	var given []presence.UserState
	var want []string
	for i := range int64(50) {
		given = append(given, altered(bob, 100+i*37%50), madeUp("carl", 100+i*37%50))
		want = append(want, fmt.Sprintf("bob/%d@10*", 100+i))
	}
	for i := range 50 {
		want = append(want, fmt.Sprintf("carl/%d", 100+i))
	}
	d := newDispatcher(t, routesRouter(routes{local("alice"): given}))
	got := text(d.UsersForStates(t.Context(), []presence.UserState{bob}).Recipients[0].States)
	if got != strings.Join(want, " ") {
		t.Errorf("states %s, want %s", got, strings.Join(want, " "))
	}
}

// TestMadeUpStatesAreComparedWhole gives two states that differ in one field, many
// times and in both orders.
func TestMadeUpStatesAreComparedWhole(t *testing.T) {
	for _, tt := range []struct {
		field  string
		change func(*presence.UserState)
	}{
		{"UserID", func(s *presence.UserState) { s.UserID = local("carl") }},
		{"State", func(s *presence.UserState) { s.State = presence.Busy }},
		{"LastActive", func(s *presence.UserState) { s.LastActive++ }},
		{"LastFederationUpdate", func(s *presence.UserState) { s.LastFederationUpdate++ }},
		{"LastUserSync", func(s *presence.UserState) { s.LastUserSync++ }},
		{"StatusMsg.IsSet", func(s *presence.UserState) { s.StatusMsg = presence.Status("") }},
		{"StatusMsg.Text", func(s *presence.UserState) { s.StatusMsg.Text = "lunch" }},
		{"CurrentlyActive", func(s *presence.UserState) { s.CurrentlyActive = true }},
	} {
		t.Run(tt.field, func(t *testing.T) {
			a, b := madeUp("bob", 1), madeUp("bob", 1)
			tt.change(&b)
			forth := dispatchTo(t, slices.Repeat([]presence.UserState{a, b}, 20))
			back := dispatchTo(t, slices.Repeat([]presence.UserState{b, a}, 20))
			if len(forth) != 2 || !slices.Equal(forth, back) {
				t.Errorf("states %+v and in the other order %+v, want both the same, each of two states once", forth, back)
			}
		})
	}
}

// dispatchTo returns what a recipient is told whom a router gives states.
func dispatchTo(t *testing.T, states []presence.UserState) []presence.UserState {
	t.Helper()
	result := newDispatcher(t, routesRouter(routes{local("alice"): states})).UsersForStates(t.Context(), nil)
	if len(result.Recipients) != 1 {
		t.Fatalf("recipients %q, want alice", lines(result))
	}
	return result.Recipients[0].States
}

// lines writes each recipient with states and routers.
func lines(result routing.Result) []string {
	var lines []string
	for _, r := range result.Recipients {
		lines = append(lines, fmt.Sprintf("%s <- %s by %s", r.UserID, text(r.States), strings.Join(r.Routers(), ",")))
	}
	return lines
}
