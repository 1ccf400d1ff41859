package wire

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// CurrentStatesRequest asks for the newest states of users.
type CurrentStatesRequest struct {
	Users []presence.UserID // at most MaxQueryUsers
	For   presence.UserID   // who is to see them: the answer has what this local user may see; zero for all of it
	After presence.UserID   // the answer begins behind this user; zero for the first page
}

// Append appends r as JSON to dst.
func (r CurrentStatesRequest) Append(dst []byte) []byte {
	dst = appendUsers(append(dst, `{"users":`...), r.Users)
	dst = appendUserMember(dst, `,"for":`, r.For)
	return append(appendUserMember(dst, `,"after":`, r.After), '}')
}

// DecodeCurrentStatesRequest returns the request that Append wrote. Every error is
// a *QueryError.
func DecodeCurrentStatesRequest(data []byte) (CurrentStatesRequest, error) {
	return decodeRequest(data, []member[CurrentStatesRequest]{
		{"users", true, func(r *CurrentStatesRequest, value []byte) (err error) {
			r.Users, err = parseQueryUsers(value)
			return err
		}},
		{"for", false, func(r *CurrentStatesRequest, value []byte) (err error) {
			r.For, err = parseUserIDField("for", value)
			return err
		}},
		{"after", false, func(r *CurrentStatesRequest, value []byte) (err error) {
			r.After, err = parseUserIDField("after", value)
			return err
		}},
	})
}

// PlacedState is a state and its place in the history of its user, the one that
// deliveries have.
type PlacedState struct {
	Epoch int64              // ms, as in a delivery
	State presence.UserState // its sequence is the position of the update it came from, 0 where it came from none
}

// CurrentStatesAnswer holds the newest states of users. Users of whom nothing is
// known are left out.
type CurrentStatesAnswer struct {
	States []PlacedState   // in order of their users
	Next   presence.UserID // After of the next page; zero on the last one
}

// Append appends a as JSON to dst.
func (a CurrentStatesAnswer) Append(dst []byte) []byte {
	dst = append(dst, `{"epochs":[`...)
	for i := range a.States {
		dst = strconv.AppendInt(comma(dst, i), a.States[i].Epoch, 10)
	}
	dst = append(dst, `],"sequences":[`...)
	for i := range a.States {
		dst = strconv.AppendUint(comma(dst, i), sequenceOf(&a.States[i].State), 10)
	}
	dst = append(dst, `],"states":[`...)
	for i := range a.States {
		dst = AppendState(comma(dst, i), a.States[i].State)
	}
	return append(appendUserMember(append(dst, ']'), `,"next":`, a.Next), '}')
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

// Fit returns as many states of a, from the first on, as Append writes into
// maxBytes, with Next where that is not all. What one user has is not split. It
// returns a *QueryError with CodeTooLarge where that alone is too large.
func (a CurrentStatesAnswer) Fit(maxBytes int) (CurrentStatesAnswer, error) {
	const (
		envelope = len(`{"epochs":[],"sequences":[],"states":[],"next":}`)
		perState = len(`9223372036854775807,18446744073709551615,`)
	)
	room, begun := maxBytes-envelope-maxUserText, 0 // begun is the first state of the user at hand
	for i := range a.States {
		if a.States[i].State.UserID != a.States[begun].State.UserID {
			begun = i
		}
		room -= perState + len(",") + stateSize(&a.States[i].State)
		switch {
		case room >= 0:
			continue
		case begun == 0:
			return CurrentStatesAnswer{}, tooLarge("states of %s have more than %d bytes, which fit an answer", a.States[i].State.UserID, maxBytes)
		}
		a.States, a.Next = a.States[:begun], a.States[begun-1].State.UserID
		break
	}
	return a, nil
}

// receivedStates is an answer that is being decoded.
type receivedStates struct {
	epochs    []uint64
	sequences []uint64
	states    []presence.UserState
	next      presence.UserID
}

// DecodeCurrentStatesAnswer returns the answer that Append wrote, with the JSON and
// the sequence of each state attached. Parts of data are kept, not copied. Unknown
// fields are passed over.
func DecodeCurrentStatesAnswer(data []byte) (CurrentStatesAnswer, error) {
	r, err := decodeAnswer(data, []member[receivedStates]{
		{"epochs", true, func(r *receivedStates, value []byte) (err error) {
			r.epochs, err = parseNumbers("epochs", value, math.MaxInt64)
			return err
		}},
		{"sequences", true, func(r *receivedStates, value []byte) (err error) {
			r.sequences, err = parseNumbers("sequences", value, math.MaxUint64)
			return err
		}},
		{"states", true, func(r *receivedStates, value []byte) (err error) {
			r.states, err = parseStates("states", value, len(value), nil)
			return err
		}},
		{"next", false, func(r *receivedStates, value []byte) (err error) {
			r.next, err = parseUserIDField("next", value)
			return err
		}},
	})
	if err != nil {
		return CurrentStatesAnswer{}, err
	}
	return r.answer()
}

func (r receivedStates) answer() (CurrentStatesAnswer, error) {
	n := len(r.states)
	if len(r.epochs) != n || len(r.sequences) != n {
		return CurrentStatesAnswer{}, fmt.Errorf("decode answer: epochs has %d elements and sequences %d, want %d as in states",
			len(r.epochs), len(r.sequences), n)
	}
	a := CurrentStatesAnswer{Next: r.next}
	for i, state := range r.states {
		a.States = append(a.States, PlacedState{
			Epoch: int64(r.epochs[i]), //nolint:gosec // parseNumbers holds it to MaxInt64.
			State: state.FromUpdate(state.Published().JSON, r.sequences[i]),
		})
	}
	return a, nil
}

func parseNumbers(name string, value []byte, most uint64) ([]uint64, error) {
	var numbers []uint64
	err := eachOf(name, value, func(element []byte) error {
		number, ok := parseWhole(bytes.TrimSpace(element), most)
		if !ok {
			return fmt.Errorf("%s[%d] is %s, want an integer from 0 to %d", name, len(numbers), showJSON(element), most)
		}
		numbers = append(numbers, number)
		return nil
	})
	return numbers, err
}
