package routing_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest/vectors"
)

func TestMergesAsSynapse(t *testing.T) {
	cases, err := vectors.Read("testdata/synapse-merge-vectors.json")
	if err != nil || len(cases) != 150 {
		t.Fatalf("%d cases, %v, want 150", len(cases), err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Run("made up", func(t *testing.T) { testVector(t, c, c.States) })
			t.Run("published", func(t *testing.T) { testVector(t, c, published(c.States)) })
		})
	}
}

func testVector(t *testing.T, c vectors.Case, states []presence.UserState) {
	t.Helper()
	var asked []int
	routers := make([]routing.Router, len(c.Modules))
	for i, m := range c.Modules {
		routers[i] = m.Router(func() { asked = append(asked, i) })
	}
	d := newDispatcher(t, routers...)

	if got := indexes(d.UsersForStates(t.Context(), states), states); !reflect.DeepEqual(got, c.WantUsers) {
		t.Errorf("UsersForStates = %v, want %v", got, c.WantUsers)
	}
	got, _ := d.InterestedUsers(t.Context(), c.User) // that all failed is no error in Synapse
	if !reflect.DeepEqual(got.Interest, c.WantInterest) {
		t.Errorf("InterestedUsers = %v, want %v", got.Interest, c.WantInterest)
	}
	if !slices.Equal(asked, c.WantAsked) {
		t.Errorf("InterestedUsers asked the modules %v, want %v", asked, c.WantAsked)
	}
}

// published returns states as they come from updates.
func published(states []presence.UserState) []presence.UserState {
	published := make([]presence.UserState, len(states))
	for i, s := range states {
		published[i] = s.FromUpdate([]byte("{}"), uint64(10*i+10))
	}
	return published
}

// indexes turns the states of result into their last indexes in states.
func indexes(result routing.Result, states []presence.UserState) map[presence.UserID][]int {
	got := make(map[presence.UserID][]int)
	for _, r := range result.Recipients {
		for _, s := range r.States {
			last := -1
			for i := range states {
				if states[i].Same(s) {
					last = i
				}
			}
			got[r.UserID] = append(got[r.UserID], last)
		}
	}
	return got
}
