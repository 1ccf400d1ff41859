package wire

import (
	"fmt"
	"math"
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// UsersForStatesRequest asks who should receive states.
type UsersForStatesRequest struct {
	States      []presence.UserState
	After       presence.UserID // the answer begins behind this recipient; zero for the first page
	AfterStates int             // or behind that many states of After, where it is not 0
}

// Append appends r as JSON to dst.
func (r UsersForStatesRequest) Append(dst []byte) []byte {
	dst = appendStates(append(dst, `{"states":`...), r.States)
	dst = appendUserMember(dst, `,"after":`, r.After)
	return append(appendCountMember(dst, `,"after_states":`, r.AfterStates), '}')
}

// DecodeUsersForStatesRequest returns the request that Append wrote: states of at
// most maxBytes each, with the JSON they were decoded from and the place they have
// in the request, counted from 1, attached (presence.UserState.Published). Parts of
// data are kept, not copied. Every error is a *QueryError.
func DecodeUsersForStatesRequest(data []byte, maxBytes int) (UsersForStatesRequest, error) {
	r, err := decodeRequest(data, []member[UsersForStatesRequest]{
		{"states", true, func(r *UsersForStatesRequest, value []byte) (err error) {
			r.States, err = parseStates("states", value, maxBytes, r.States)
			return err
		}},
		{"after", false, func(r *UsersForStatesRequest, value []byte) (err error) {
			r.After, err = parseUserIDField("after", value)
			return err
		}},
		{"after_states", false, func(r *UsersForStatesRequest, value []byte) (err error) {
			r.AfterStates, err = parseCount("after_states", value, 1, math.MaxInt32)
			return err
		}},
	})
	if err == nil && r.AfterStates > 0 && r.After.IsZero() {
		err = &QueryError{Code: CodeInvalid, Err: fmt.Errorf("after_states is %d without after, want after to name their recipient", r.AfterStates)}
	}
	return r, err
}

// UserStates is a recipient and the states that they should receive.
type UserStates struct {
	UserID presence.UserID
	States []presence.UserState // at least one, in delivery order
}

// UsersForStatesAnswer says who should receive which states.
type UsersForStatesAnswer struct {
	Users      []UserStates    // sorted, each once
	Next       presence.UserID // After of the next page; zero on the last one
	NextStates int             // AfterStates of the next page
}

// Append appends a as JSON to dst.
func (a UsersForStatesAnswer) Append(dst []byte) []byte {
	dst = append(dst, `{"users":{`...)
	for i, user := range a.Users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendStates(append(appendText(dst, user.UserID.String()), ':'), user.States)
	}
	dst = appendUserMember(append(dst, '}'), `,"next":`, a.Next)
	return append(appendCountMember(dst, `,"next_states":`, a.NextStates), '}')
}

// Fit returns as many users of a, from the first on, as Append writes into
// maxBytes, with Next where that is not all. Of a user alone who has too many
// states, it returns some, with NextStates. It returns a *QueryError with
// CodeTooLarge where one state alone is too large.
func (a UsersForStatesAnswer) Fit(maxBytes int) (UsersForStatesAnswer, error) {
	const envelope = len(`{"users":{},"next":,"next_states":2147483647}`)
	size := envelope + maxUserText
	for i, user := range a.Users {
		room := maxBytes - size - textSize(user.UserID.String()) - len(`:[],`)
		fitting, used := fittingStates(user.States, room)
		size = maxBytes - room + used
		switch {
		case fitting == len(user.States):
			continue
		case i > 0:
			return UsersForStatesAnswer{Users: a.Users[:i], Next: a.Users[i-1].UserID}, nil
		case fitting == 0:
			return UsersForStatesAnswer{}, tooLarge("state of %s for %s has %d bytes, at most %d fit an answer",
				user.States[0].UserID, user.UserID, len(AppendState(nil, user.States[0])), room)
		}
		user.States = user.States[:fitting]
		return UsersForStatesAnswer{Users: []UserStates{user}, Next: user.UserID, NextStates: fitting}, nil
	}
	return a, nil
}

func tooLarge(format string, args ...any) *QueryError {
	return &QueryError{Code: CodeTooLarge, Err: fmt.Errorf(format, args...)}
}

// fittingStates returns how many of states, from the first on, are written into
// room bytes, commas included, and the bytes that they take.
func fittingStates(states []presence.UserState, room int) (fitting, used int) {
	for i := range states {
		size := stateSize(&states[i]) + len(",")
		if used+size > room {
			return i, used
		}
		used += size
	}
	return len(states), used
}

// stateSize returns a number of bytes that AppendState(nil, s) does not exceed, and
// no more than some hundred above it.
func stateSize(s *presence.UserState) int {
	const fields = 240 // keys, punctuation, three times, null and false
	if !s.Altered() {
		return len(s.Published().JSON)
	}
	return fields + textSize(s.UserID.String()) + textSize(string(s.State)) + textSize(s.StatusMsg.Text)
}

// DecodeUsersForStatesAnswer returns the answer that Append wrote, with the JSON of
// each state attached. Parts of data are kept, not copied. Unknown fields are passed
// over.
func DecodeUsersForStatesAnswer(data []byte) (UsersForStatesAnswer, error) {
	return decodeAnswer(data, []member[UsersForStatesAnswer]{
		{"users", true, func(a *UsersForStatesAnswer, value []byte) (err error) {
			a.Users, err = parseUserStates(value)
			return err
		}},
		{"next", false, func(a *UsersForStatesAnswer, value []byte) (err error) {
			a.Next, err = parseUserIDField("next", value)
			return err
		}},
		{"next_states", false, func(a *UsersForStatesAnswer, value []byte) (err error) {
			a.NextStates, err = parseCount("next_states", value, 1, math.MaxInt32)
			return err
		}},
	})
}

func parseUserStates(value []byte) ([]UserStates, error) {
	var users []UserStates
	err := eachUser("users", value, func(user presence.UserID, value []byte) error {
		states, err := parseStates(fmt.Sprintf("users[%s]", quoteShort(user.String())), value, len(value), nil)
		users = append(users, UserStates{UserID: user, States: states})
		return err
	})
	return users, err
}

// eachUser calls visit with each user and value of the object in the named member.
func eachUser(name string, value []byte, visit func(user presence.UserID, value []byte) error) error {
	if value[0] != '{' {
		return fmt.Errorf("%s is %s, want an object", name, showJSON(value))
	}
	s := scanner{data: value, limit: maxQueryDepth}
	return s.object(func(key, value []byte) error {
		user, err := presence.ParseUserID(string(key))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return visit(user, value)
	})
}

// appendStates appends an array of states.
func appendStates(dst []byte, states []presence.UserState) []byte {
	dst = append(dst, '[')
	for i := range states {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendState(dst, states[i])
	}
	return append(dst, ']')
}

// appendCountMember appends key and count where count is not 0.
func appendCountMember(dst []byte, key string, count int) []byte {
	if count == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, key...), int64(count), 10)
}
