package presence

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidState is wrapped by every error that ParseState returns.
var ErrInvalidState = errors.New("invalid presence state")

// State says how present a user is.
type State string

// The states that have no namespace of their own, and the unstable name of busy
// (MSC3026).
const (
	Online       State = "online"
	Unavailable  State = "unavailable"
	Offline      State = "offline"
	Busy         State = "busy"
	UnstableBusy State = "org.matrix.msc3026.busy"
)

// ParseState returns the state that s names: one of the plain ones, or any
// namespaced one (with a dot in it). Other strings give an error wrapping
// ErrInvalidState.
func ParseState(s string) (State, error) {
	state := State(s)
	if !state.Valid() {
		return "", fmt.Errorf("%w %q: want online, unavailable, offline, busy or a namespaced value", ErrInvalidState, s)
	}
	return state, nil
}

// Valid reports whether ParseState accepts s.
func (s State) Valid() bool {
	switch s {
	case Online, Unavailable, Offline, Busy, UnstableBusy:
		return true
	default:
		return strings.Contains(string(s), ".")
	}
}
