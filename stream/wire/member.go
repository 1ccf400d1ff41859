package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// maxQueryDepth is how deep the JSON of a query may nest: an array of updates in
// an object of an object.
const maxQueryDepth = maxDepth + 3

// member is a known member of the JSON object that a T is written as. A null is
// passed over where the member is optional.
type member[T any] struct {
	name     string
	required bool
	set      func(t *T, value []byte) error
}

// decodeRequest decodes data strictly: a member that is not known is an error.
// Every error is a *QueryError.
func decodeRequest[T any](data []byte, members []member[T]) (T, error) {
	t, err := decodeMembers(data, members, func(key []byte) error {
		names := make([]string, len(members))
		for i, m := range members {
			names[i] = m.name
		}
		return fmt.Errorf("field %s is unknown, want %s", quoteShort(string(key)), strings.Join(names, ", "))
	})
	if err == nil {
		return t, nil
	}
	if q, ok := errors.AsType[*QueryError](err); ok {
		return t, q
	}
	return t, &QueryError{Code: CodeInvalid, Err: err}
}

// decodeAnswer decodes data and passes over members that are not known.
func decodeAnswer[T any](data []byte, members []member[T]) (T, error) {
	t, err := decodeMembers(data, members, passOver)
	if err != nil {
		return t, fmt.Errorf("decode answer: %w", err)
	}
	return t, nil
}

// passOver takes any unknown member.
func passOver([]byte) error { return nil }

func decodeMembers[T any](data []byte, members []member[T], unknown func(key []byte) error) (T, error) {
	var t, none T
	var seen uint8
	err := scanObject(data, maxQueryDepth, func(key, value []byte) error {
		i := slices.IndexFunc(members, func(m member[T]) bool { return m.name == string(key) })
		if i < 0 {
			return unknown(key)
		}
		if err := once(&seen, 1<<i, key); err != nil {
			return err
		}
		if isNull(value) && !members[i].required {
			return nil
		}
		return members[i].set(&t, value)
	})
	if err != nil {
		return none, err
	}
	for i, m := range members {
		if m.required && seen&(1<<i) == 0 {
			return none, fmt.Errorf("%s is missing", m.name)
		}
	}
	return t, nil
}

// parseCount returns the value of the named member, an integer from least to most.
func parseCount(name string, value []byte, least, most int) (int, error) {
	count, ok := parseWhole(value, math.MaxInt64)
	if !ok || count < uint64(least) || count > uint64(most) { //nolint:gosec // Bounds are not negative.
		return 0, fmt.Errorf("%s is %s, want an integer from %d to %d", name, showJSON(value), least, most)
	}
	return int(count), nil //nolint:gosec // most is an int.
}

func parseFlag(name string, value []byte) (bool, error) {
	switch value[0] {
	case 't':
		return true, nil
	case 'f':
		return false, nil
	default:
		return false, fmt.Errorf("%s is %s, want true or false", name, showJSON(value))
	}
}

// parseStates appends the states of the array in the named member to states: the
// updates that maxBytes allows, numbered from 1 on. An error about one that is too
// large has CodeTooLarge.
func parseStates(name string, value []byte, maxBytes int, states []presence.UserState) ([]presence.UserState, error) {
	err := eachOf(name, value, func(element []byte) error {
		state, err := DecodeUpdate(element, uint64(len(states))+1, maxBytes)
		states = append(states, state)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s[%d]: %w", name, len(states)-1, err)
		if invalid, ok := errors.AsType[*InvalidError](err); ok && invalid.Reason == TooLarge {
			return &QueryError{Code: CodeTooLarge, Err: err}
		}
		return err
	})
	return states, err
}

// parseUserIDs appends the user IDs of the array in the named member to users.
func parseUserIDs(name string, value []byte, users []presence.UserID) ([]presence.UserID, error) {
	err := eachOf(name, value, func(element []byte) error {
		user, err := parseUserIDField(fmt.Sprintf("%s[%d]", name, len(users)), bytes.TrimSpace(element))
		users = append(users, user)
		return err
	})
	return users, err
}
