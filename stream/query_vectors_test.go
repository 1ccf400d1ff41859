package stream_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/routing/routingtest/vectors"
	"github.com/presence-router/presence-router/stream/wire"
)

// Synapse's answers come over the wire as well. One worker plays all the cases with
// the same number of modules.
func TestQueriesAnswerAsSynapse(t *testing.T) {
	t.Parallel()
	cases, err := vectors.Read("../routing/testdata/synapse-merge-vectors.json")
	if err != nil || len(cases) != 150 {
		t.Fatalf("%d cases, %v, want 150", len(cases), err)
	}
	byModules := make(map[int][]vectors.Case)
	for _, c := range cases {
		byModules[len(c.Modules)] = append(byModules[len(c.Modules)], c)
	}
	for modules, cases := range byModules {
		t.Run(fmt.Sprintf("%d modules", modules), func(t *testing.T) {
			t.Parallel()
			s, stage := newSite(t), &stage{modules: make([]swapped, modules)}
			stage.start(t, s)
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) { stage.play(t, s, c) })
			}
		})
	}
}

// stage is where the modules of one case after the other are played.
type stage struct {
	modules []swapped

	mu    sync.Mutex
	asked []int // modules that were asked for an interest
}

// swapped is a router that is another one in each case.
type swapped struct{ routing.Router }

func (g *stage) start(t *testing.T, s *site) {
	t.Helper()
	var registrations []routing.Registration
	for i := range g.modules {
		registrations = append(registrations, routing.Registration{Name: strconv.Itoa(i), Router: &g.modules[i], Timeout: eventTimeout})
	}
	dispatcher, err := routing.NewDispatcher(registrations) // without the rule about other servers, which Synapse applies elsewhere
	if err != nil {
		t.Fatal(err)
	}
	w := s.workerOf(t, dispatcher)
	w.run(t)
	w.awaitReady(t)
}

func (g *stage) play(t *testing.T, s *site, c vectors.Case) {
	t.Helper()
	g.asked = nil
	for i, m := range c.Modules {
		g.modules[i].Router = m.Router(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.asked = append(g.asked, i)
		})
	}
	if got := g.usersForStates(t, s, c); !reflect.DeepEqual(got, c.WantUsers) {
		t.Errorf("users_for_states = %v, want %v", got, c.WantUsers)
	}
	if got := g.interest(t, s, c); !reflect.DeepEqual(got, c.WantInterest) {
		t.Errorf("interested_users = %v, want %v", got, c.WantInterest)
	}
	if !slices.Equal(g.asked, c.WantAsked) {
		t.Errorf("interested_users asked the modules %v, want %v", g.asked, c.WantAsked)
	}
}

// usersForStates returns the recipients with the last indexes of their states. That
// all modules failed is nobody to Synapse and an error here.
func (g *stage) usersForStates(t *testing.T, s *site, c vectors.Case) map[presence.UserID][]int {
	t.Helper()
	got := make(map[presence.UserID][]int)
	data, err := s.ask(t, wire.UsersForStates, wire.UsersForStatesRequest{States: c.States}.Append(nil))
	if err != nil {
		wantAllFailed(t, err)
		return got
	}
	page, err := wire.DecodeUsersForStatesAnswer(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Users {
		for _, state := range u.States {
			last := -1
			for i := range c.States {
				if c.States[i].Same(state) {
					last = i
				}
			}
			got[u.UserID] = append(got[u.UserID], last)
		}
	}
	return got
}

func (g *stage) interest(t *testing.T, s *site, c vectors.Case) routing.Interest {
	t.Helper()
	data, err := s.ask(t, wire.InterestedUsers, wire.InterestedUsersRequest{UserID: c.User}.Append(nil))
	if err != nil {
		wantAllFailed(t, err)
		return routing.Users()
	}
	page, err := wire.DecodeInterestedUsersAnswer(data)
	if err != nil {
		t.Fatal(err)
	}
	if page.AllUsers {
		return routing.All()
	}
	return routing.Users(page.Users...)
}

func wantAllFailed(t *testing.T, err error) {
	t.Helper()
	wantQueryError(t, err, wire.CodeRoutersFailed)
}
