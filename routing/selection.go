package routing

import (
	"maps"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// selection collects the states for one recipient after the other, and puts each
// recipient's in delivery order: by position, altered copies after the state they
// were made from, and made-up states last.
type selection struct {
	batch     batch
	isLocal   func(presence.ServerName) bool // nil where nothing is filtered
	localOnly bool                           // the recipient gets states of local users only
	picked    indexSet                       // states of the batch
	others    []other                        // states that are not in the batch
	near      int                            // where the next state probably stands
	refused   map[uint64]bool                // positions of states that a recipient may not have; nil for none
}

func newSelection(b batch, isLocal func(presence.ServerName) bool) *selection {
	return &selection{batch: b, isLocal: isLocal, picked: newIndexSet(len(b.states))}
}

// begin starts an empty selection for recipient.
func (s *selection) begin(recipient presence.UserID) {
	s.near, s.others = 0, s.others[:0]
	s.picked.clear()
	s.localOnly = s.isLocal != nil && !s.isLocal(recipient.Server())
}

// add reports whether the recipient may have state, which a router chose, and adds
// it then. The error says why state cannot be delivered to anybody.
func (s *selection) add(state *presence.UserState) (bool, error) {
	origin, found := s.batch.origin(state, s.near)
	if !found {
		return s.addForeign(state)
	}
	s.near = origin + 1
	if *state == s.batch.states[origin] {
		return s.pick(s.batch.last[origin]), nil
	}
	return s.addAltered(state, origin)
}

// addAltered adds an altered copy of the state at origin. Where it says the same as
// a later one of the batch, it counts as that one.
func (s *selection) addAltered(state *presence.UserState, origin int) (bool, error) {
	same := s.batch.contents.find(state)
	if same >= origin {
		return s.pick(same), nil
	}
	return s.addOther(other{state: *state, position: s.batch.positions[origin], replaces: same})
}

// addForeign adds a state that is no copy of one in the batch. Where it says the
// same as one of them, it counts as that one.
func (s *selection) addForeign(state *presence.UserState) (bool, error) {
	if same := s.batch.contents.find(state); same >= 0 {
		return s.pick(same), nil
	}
	foreign := other{state: *state, position: madeUp, replaces: -1}
	if published := state.Published(); published != nil {
		foreign.position = published.Position
	}
	return s.addOther(foreign)
}

func (s *selection) pick(i int) bool {
	if s.localOnly && !s.batch.local[i] {
		s.refuse(s.batch.positions[i])
		return false
	}
	s.picked.add(i)
	return true
}

func (s *selection) addOther(o other) (bool, error) {
	if err := o.state.Validate(); err != nil {
		return false, err
	}
	if s.localOnly && !s.isLocal(o.state.UserID.Server()) {
		if o.position != madeUp {
			s.refuse(o.position)
		}
		return false, nil
	}
	s.others = append(s.others, o)
	return true, nil
}

func (s *selection) refuse(position uint64) {
	if s.refused == nil {
		s.refused = make(map[uint64]bool)
	}
	s.refused[position] = true
}

// refusedToAll returns the positions of states that routers chose recipients for, none
// of whom may have them, in order.
func (s *selection) refusedToAll(recipients []Recipient) []uint64 {
	if len(s.refused) == 0 {
		return nil
	}
	for _, r := range recipients {
		for i := range r.States {
			if published := r.States[i].Published(); published != nil {
				delete(s.refused, published.Position)
			}
		}
	}
	return slices.Sorted(maps.Keys(s.refused))
}

// take returns the selected states in delivery order. Those that are next to each
// other in the batch are shared with it.
func (s *selection) take() []presence.UserState {
	others := s.settleOthers()
	begin, end, count := s.picked.span()
	if len(others) == 0 && count == end-begin {
		return s.batch.states[begin:end:end]
	}
	taken := make([]presence.UserState, 0, count+len(others))
	for i := range s.picked.all() {
		for len(others) > 0 && others[0].position < s.batch.positions[i] {
			taken, others = append(taken, others[0].state), others[1:]
		}
		taken = append(taken, s.batch.states[i])
	}
	for i := range others {
		taken = append(taken, others[i].state)
	}
	return taken
}

// settleOthers returns the other states in order, and drops from the picked ones
// those that another state says again later.
func (s *selection) settleOthers() []other {
	if len(s.others) == 0 {
		return nil
	}
	for i := range s.others {
		if replaced := s.others[i].replaces; replaced >= 0 {
			s.picked.remove(replaced)
		}
	}
	return inOrder(s.others)
}
