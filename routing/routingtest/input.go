package routingtest

import (
	"bytes"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// input is the batch that the router sees, and a copy that it does not see.
type input struct {
	states  []presence.UserState // has room for one state more, which stays zero
	copied  []presence.UserState
	updates []presence.Published
}

func newInput(states []presence.UserState) *input {
	in := &input{states: make([]presence.UserState, 0, len(states)+1)}
	in.states = append(in.states, published(states)...)
	in.copied = slices.Clone(in.states)
	for _, s := range in.states {
		update := *s.Published()
		update.JSON = bytes.Clone(update.JSON)
		in.updates = append(in.updates, update)
	}
	return in
}

// change says what became of the states, "" where they are as they were.
func (in *input) change() string {
	if in.states[:cap(in.states)][len(in.states)] != (presence.UserState{}) {
		return "appended to the slice of states"
	}
	for i, s := range in.states {
		if s != in.copied[i] {
			return "changed a state or moved it: " + s.UserID.String()
		}
		update := s.Published()
		if update.Position != in.updates[i].Position || !bytes.Equal(update.JSON, in.updates[i].JSON) {
			return "changed the update of a state: " + s.UserID.String()
		}
	}
	return ""
}

// users returns whom the states are of, each once.
func (in *input) users() []presence.UserID {
	var users []presence.UserID
	for _, s := range in.copied {
		users = append(users, s.UserID)
	}
	slices.SortFunc(users, presence.UserID.Compare)
	return slices.Compact(users)
}

// rejects says why s cannot have come from the states, "" where it did: it says the
// same as one of them, or is an altered copy of one, of the same user.
func (in *input) rejects(s presence.UserState) string {
	for _, from := range in.copied {
		if s.Same(from) {
			return ""
		}
		if s.Published() == from.Published() {
			return rejectsCopy(s, from)
		}
	}
	return "is no state of the input, nor a copy of one"
}

func rejectsCopy(s, from presence.UserState) string {
	if s.UserID != from.UserID {
		return "is the altered copy of a state of " + from.UserID.String()
	}
	if err := s.Validate(); err != nil {
		return "is altered and cannot be delivered: " + err.Error()
	}
	return ""
}
