package routing_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// vectors are answers of Synapse's PresenceRouter to random modules.
type vectors struct {
	Cases []vector `json:"cases"`
}

type vector struct {
	Name         string                    `json:"name"`
	States       []vectorState             `json:"states"`
	Modules      []vectorModule            `json:"modules"`
	Query        presence.UserID           `json:"query"`
	WantUsers    map[presence.UserID][]int `json:"want_users_for_states"`
	WantInterest struct {
		All   bool              `json:"all_users"`
		Users []presence.UserID `json:"users"`
	} `json:"want_interested_users"`
	WantAsked []int `json:"want_interest_asked"`
}

type vectorState struct {
	UserID               presence.UserID `json:"user_id"`
	State                presence.State  `json:"state"`
	LastActive           int64           `json:"last_active_ts"`
	LastFederationUpdate int64           `json:"last_federation_update_ts"`
	LastUserSync         int64           `json:"last_user_sync_ts"`
	StatusMsg            *string         `json:"status_msg"`
	CurrentlyActive      bool            `json:"currently_active"`
}

type vectorModule struct {
	UsersForStates struct {
		Returns   map[presence.UserID][]int `json:"returns"`
		Raises    bool                      `json:"raises"`
		WrongType bool                      `json:"wrong_type"`
	} `json:"users_for_states"`
	InterestedUsers struct {
		Users     []presence.UserID `json:"users"`
		All       bool              `json:"all"`
		Raises    bool              `json:"raises"`
		WrongType bool              `json:"wrong_type"`
	} `json:"interested_users"`
}

var errRaised = errors.New("the module raised")

func TestMergesAsSynapse(t *testing.T) {
	ran := 0
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Run("made up", func(t *testing.T) { v.test(t, v.states(false)) })
			t.Run("published", func(t *testing.T) { v.test(t, v.states(true)) })
		})
		ran++
	}
	if ran != 150 {
		t.Errorf("%d cases ran, want 150", ran)
	}
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/synapse-merge-vectors.json")
	if err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("decode vectors: %v", err)
	}
	return v.Cases
}

func (v vector) test(t *testing.T, states []presence.UserState) {
	t.Helper()
	var asked []int
	routers := make([]routing.Router, len(v.Modules))
	for i, m := range v.Modules {
		routers[i] = m.router(func() { asked = append(asked, i) })
	}
	d := newDispatcher(t, routers...)

	if got, want := indexes(d.UsersForStates(t.Context(), states), states), v.wantUsers(); !reflect.DeepEqual(got, want) {
		t.Errorf("UsersForStates = %v, want %v", got, want)
	}
	got, _ := d.InterestedUsers(t.Context(), v.Query) // that all failed is no error in Synapse
	if got.Interest.IsAll() != v.WantInterest.All || !slices.Equal(got.Interest.Users(), sorted(v.WantInterest.Users)) {
		t.Errorf("InterestedUsers = all %t, %v, want all %t, %v",
			got.Interest.IsAll(), got.Interest.Users(), v.WantInterest.All, v.WantInterest.Users)
	}
	if !slices.Equal(asked, v.WantAsked) {
		t.Errorf("InterestedUsers asked the modules %v, want %v", asked, v.WantAsked)
	}
}

func (v vector) states(published bool) []presence.UserState {
	states := make([]presence.UserState, len(v.States))
	for i, s := range v.States {
		states[i] = s.state()
		if published {
			states[i] = states[i].FromUpdate([]byte("{}"), uint64(10*i+10))
		}
	}
	return states
}

func (s vectorState) state() presence.UserState {
	state := presence.UserState{
		UserID:               s.UserID,
		State:                s.State,
		LastActive:           s.LastActive,
		LastFederationUpdate: s.LastFederationUpdate,
		LastUserSync:         s.LastUserSync,
		CurrentlyActive:      s.CurrentlyActive,
	}
	if s.StatusMsg != nil {
		state.StatusMsg = presence.Status(*s.StatusMsg)
	}
	return state
}

// router is the module in Go, where a wrong type can only be an error.
func (m vectorModule) router(asked func()) routing.Router {
	return stub{
		route: func(_ context.Context, states []presence.UserState) (routes, error) {
			if m.UsersForStates.Raises || m.UsersForStates.WrongType {
				return nil, errRaised
			}
			routed := make(routes)
			for recipient, chosen := range m.UsersForStates.Returns {
				routed[recipient] = []presence.UserState{}
				for _, i := range chosen {
					routed[recipient] = append(routed[recipient], states[i])
				}
			}
			return routed, nil
		},
		interest: func(context.Context, presence.UserID) (routing.Interest, error) {
			asked()
			switch {
			case m.InterestedUsers.Raises || m.InterestedUsers.WrongType:
				return routing.Interest{}, errRaised
			case m.InterestedUsers.All:
				return routing.All(), nil
			default:
				return routing.Users(m.InterestedUsers.Users...), nil
			}
		},
	}
}

// wantUsers leaves recipients without states out, as the Dispatcher does.
func (v vector) wantUsers() map[presence.UserID][]int {
	want := make(map[presence.UserID][]int)
	for recipient, chosen := range v.WantUsers {
		if len(chosen) > 0 {
			want[recipient] = chosen
		}
	}
	return want
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

func sorted(ids []presence.UserID) []presence.UserID {
	return slices.SortedFunc(slices.Values(ids), presence.UserID.Compare)
}
