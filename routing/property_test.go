package routing_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

const rounds = 2000

// world makes random batches and random answers of routers to them, from so few
// users and times that states often repeat.
type world struct {
	rand  *rand.Rand
	batch []presence.UserState
}

func newWorld(seed uint64) *world {
	w := &world{rand: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // repeatable, no secret
	position := w.rand.Uint64N(3)
	for range w.rand.IntN(80) {
		position += 1 + w.rand.Uint64N(3)
		w.batch = append(w.batch, at(position, w.user(), w.rand.Int64N(3)))
	}
	return w
}

func (w *world) user() string {
	n := w.rand.IntN(4)
	return "abcd"[n : n+1]
}

func (w *world) routers() []routes {
	answers := make([]routes, w.rand.IntN(5))
	for i := range answers {
		answers[i] = make(routes)
		for range w.rand.IntN(4) {
			answers[i][local(w.user())] = w.states()
		}
	}
	return answers
}

func (w *world) states() []presence.UserState {
	var states []presence.UserState
	for range w.rand.IntN(12) {
		states = append(states, w.state())
	}
	return states
}

// state is one of the batch, mostly, an altered copy or made up.
func (w *world) state() presence.UserState {
	kind := w.rand.IntN(10)
	if len(w.batch) == 0 || kind == 0 {
		return madeUp(w.user(), w.rand.Int64N(5))
	}
	s := w.batch[w.rand.IntN(len(w.batch))]
	switch kind {
	case 1, 2:
		return altered(s, w.rand.Int64N(5))
	case 3:
		return s.Content()
	case 4:
		return s.FromUpdate(nil, w.rand.Uint64N(200))
	default:
		return s
	}
}

func dispatch(t *testing.T, batch []presence.UserState, answers []routes) []routing.Recipient {
	t.Helper()
	routers := make([]routing.Router, len(answers))
	for i, a := range answers {
		routers[i] = routesRouter(a)
	}
	result := newDispatcher(t, routers...).UsersForStates(t.Context(), batch)
	if len(result.Failures) > 0 {
		t.Fatalf("failures %v, want none", result.Failures)
	}
	return result.Recipients
}

// deliveries writes recipients without the names of the routers.
func deliveries(recipients []routing.Recipient) []string {
	var lines []string
	for _, r := range recipients {
		lines = append(lines, fmt.Sprintf("%s <- %s", r.UserID, text(r.States)))
	}
	return lines
}

func eachWorld(t *testing.T, check func(t *testing.T, w *world)) {
	t.Helper()
	for seed := range uint64(rounds) {
		check(t, newWorld(seed))
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func TestMergingIsIdempotent(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		answers := w.routers()
		once, twice := dispatch(t, w.batch, answers), dispatch(t, w.batch, slices.Concat(answers, answers))
		if !reflect.DeepEqual(deliveries(once), deliveries(twice)) {
			t.Errorf("every router twice: %q, want %q", deliveries(twice), deliveries(once))
		}
	})
}

func TestMergingIgnoresRouterOrder(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		answers := w.routers()
		want := deliveries(dispatch(t, w.batch, answers))
		w.rand.Shuffle(len(answers), func(i, j int) { answers[i], answers[j] = answers[j], answers[i] })
		for _, a := range answers {
			for _, states := range a {
				w.rand.Shuffle(len(states), func(i, j int) { states[i], states[j] = states[j], states[i] })
			}
		}
		if got := deliveries(dispatch(t, w.batch, answers)); !reflect.DeepEqual(got, want) {
			t.Errorf("in another order: %q, want %q", got, want)
		}
	})
}

func TestRecipientsAreSortedAndHaveStates(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		recipients := dispatch(t, w.batch, w.routers())
		for i, r := range recipients {
			if i > 0 && recipients[i-1].UserID.Compare(r.UserID) >= 0 {
				t.Errorf("%s after %s", r.UserID, recipients[i-1].UserID)
			}
			if len(r.States) == 0 || len(r.Routers()) == 0 {
				t.Errorf("%s has %d states of %d routers, want some", r.UserID, len(r.States), len(r.Routers()))
			}
		}
	})
}

// TestStatesAreThoseOfTheRouters compares what each recipient is told, and by whom,
// with the plain union that Synapse makes of sets.
func TestStatesAreThoseOfTheRouters(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		answers := w.routers()
		got := make(map[presence.UserID]union)
		for _, r := range dispatch(t, w.batch, answers) {
			u := union{contents: make(map[presence.UserState]int), routers: r.Routers()}
			for _, s := range r.States {
				u.contents[s.Content()]++
			}
			got[r.UserID] = u
		}
		if want := plainUnion(answers); !reflect.DeepEqual(got, want) {
			t.Errorf("recipients %+v, want %+v", got, want)
		}
	})
}

// union is what a recipient is told, each content once, and the routers that chose it.
type union struct {
	contents map[presence.UserState]int
	routers  []string
}

func plainUnion(answers []routes) map[presence.UserID]union {
	unions := make(map[presence.UserID]union)
	for i, answer := range answers {
		for recipient, states := range answer {
			if len(states) == 0 {
				continue
			}
			u := unions[recipient]
			if u.contents == nil {
				u.contents = make(map[presence.UserState]int)
			}
			for _, s := range states {
				u.contents[s.Content()] = 1
			}
			u.routers = append(u.routers, fmt.Sprintf("r%d", i))
			unions[recipient] = u
		}
	}
	return unions
}

// TestStatesOfTheBatchKeepTheirPlace checks that unaltered states are those of the
// batch, at the last place where they are said, in ascending order, and that the
// newest state of a user comes last.
func TestStatesOfTheBatchKeepTheirPlace(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		last := make(map[presence.UserState]uint64)
		for _, s := range w.batch {
			last[s.Content()] = s.Published().Position
		}
		for _, r := range dispatch(t, w.batch, w.routers()) {
			var positions []uint64
			for _, s := range r.States {
				if s.Published() == nil || s.Altered() || !slices.Contains(w.batch, s) {
					continue
				}
				positions = append(positions, s.Published().Position)
				if want := last[s.Content()]; s.Published().Position != want {
					t.Errorf("%s: %s, want it at %d", r.UserID, text([]presence.UserState{s}), want)
				}
			}
			if !slices.IsSorted(positions) {
				t.Errorf("%s: positions %d, want them to ascend", r.UserID, positions)
			}
		}
	})
}

// TestOrderIsThatOfPositions checks the whole order: by position, unaltered before
// altered, made-up states last.
func TestOrderIsThatOfPositions(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		t.Helper()
		for _, r := range dispatch(t, w.batch, w.routers()) {
			if !slices.IsSortedFunc(r.States, comparePlaces) {
				t.Errorf("%s: %s, want it in order", r.UserID, text(r.States))
			}
		}
	})
}

func comparePlaces(a, b presence.UserState) int {
	return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(rank(a), rank(b)))
}

func place(s presence.UserState) uint64 {
	if p := s.Published(); p != nil {
		return p.Position
	}
	return ^uint64(0)
}

func rank(s presence.UserState) int {
	if s.Altered() {
		return 1
	}
	return 0
}
