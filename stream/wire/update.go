package wire

import (
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
)

// updateFields is a set of the known fields of an update.
type updateFields uint8

const (
	userIDField updateFields = 1 << iota
	stateField
	lastActiveField
	lastFederationUpdateField
	lastUserSyncField
	statusMsgField
	currentlyActiveField
)

// update is an update that is being decoded. What is wrong with its user and its
// state is told only where its JSON is sound.
type update struct {
	state    presence.UserState
	seen     updateFields
	userErr  error
	stateErr error
}

// DecodeUpdate returns the state that an update of at most maxBytes describes,
// with data, which is kept and not copied, and position attached (FromUpdate).
// Every error is an *InvalidError. Unknown fields are passed over; keys are
// case-sensitive; null is the default of an optional field. Half a surrogate pair
// in an escape is malformed: some parsers of deliveries would refuse it.
func DecodeUpdate(data []byte, position uint64, maxBytes int) (presence.UserState, error) {
	if len(data) > maxBytes {
		return presence.UserState{}, invalid(TooLarge, "update is %d bytes, at most %d are allowed", len(data), maxBytes)
	}
	var u update
	if err := scanObject(data, maxDepth, u.set); err != nil {
		return presence.UserState{}, invalid(Malformed, "update: %w", err)
	}
	if err := u.check(); err != nil {
		return presence.UserState{}, err
	}
	return u.state.FromUpdate(data, position), nil
}

// check returns what is wrong with the user or the state as an *InvalidError.
func (u *update) check() error {
	switch {
	case u.userErr != nil:
		return &InvalidError{Reason: InvalidUserID, Err: u.userErr}
	case u.state.UserID.IsZero():
		return invalid(InvalidUserID, "user_id is missing, want a user ID")
	case u.stateErr != nil:
		return &InvalidError{Reason: InvalidState, Err: u.stateErr}
	case u.state.State == "":
		return invalid(InvalidState, "state is missing, want a presence state")
	default:
		return nil
	}
}

func updateField(key []byte) updateFields {
	switch string(key) {
	case "user_id":
		return userIDField
	case "state":
		return stateField
	case "last_active_ts":
		return lastActiveField
	case "last_federation_update_ts":
		return lastFederationUpdateField
	case "last_user_sync_ts":
		return lastUserSyncField
	case "status_msg":
		return statusMsgField
	case "currently_active":
		return currentlyActiveField
	default:
		return 0
	}
}

func (u *update) set(key, value []byte) error {
	field := updateField(key)
	if err := once(&u.seen, field, key); err != nil || field == 0 {
		return err
	}
	var err error
	switch field {
	case userIDField:
		u.state.UserID, u.userErr = parseUserIDField("user_id", value)
	case stateField:
		u.state.State, u.stateErr = parseStateField(value)
	case lastActiveField:
		u.state.LastActive, err = parseTime(key, value)
	case lastFederationUpdateField:
		u.state.LastFederationUpdate, err = parseTime(key, value)
	case lastUserSyncField:
		u.state.LastUserSync, err = parseTime(key, value)
	case statusMsgField:
		u.state.StatusMsg, err = parseStatusMsg(value)
	case currentlyActiveField:
		u.state.CurrentlyActive, err = parseCurrentlyActive(value)
	}
	return err
}

// parseUserIDField returns the user ID in the value of the named field.
func parseUserIDField(name string, value []byte) (presence.UserID, error) {
	if !isText(value) {
		return presence.UserID{}, fmt.Errorf("%s is %s, want a string", name, showJSON(value))
	}
	text := string(inText(value))
	user, err := presence.ParseUserID(text)
	if err == nil {
		return user, nil
	}
	if len(text) <= shownBytes {
		return presence.UserID{}, fmt.Errorf("%s: %w", name, err)
	}
	return presence.UserID{}, fmt.Errorf("%w: %s is %s with %d bytes, want @localpart:server of at most %d",
		presence.ErrInvalidUserID, name, quoteShort(text), len(text), presence.MaxUserIDBytes)
}

func parseStateField(value []byte) (presence.State, error) {
	if !isText(value) {
		return "", fmt.Errorf("state is %s, want a string", showJSON(value))
	}
	text := inText(value)
	if state := plainState(text); state != "" {
		return state, nil
	}
	state := presence.State(text)
	if !state.Valid() {
		return "", fmt.Errorf("%w: state is %s, want online, unavailable, offline, busy or a namespaced value",
			presence.ErrInvalidState, quoteShort(string(text)))
	}
	return state, nil
}

// plainState returns the state named text without allocating it, "" where it is
// not among the common ones.
func plainState(text []byte) presence.State {
	switch string(text) {
	case string(presence.Online):
		return presence.Online
	case string(presence.Unavailable):
		return presence.Unavailable
	case string(presence.Offline):
		return presence.Offline
	case string(presence.Busy):
		return presence.Busy
	case string(presence.UnstableBusy):
		return presence.UnstableBusy
	default:
		return ""
	}
}

func parseStatusMsg(value []byte) (presence.StatusMsg, error) {
	switch {
	case isNull(value):
		return presence.StatusMsg{}, nil
	case isText(value):
		return presence.Status(string(inText(value))), nil
	default:
		return presence.StatusMsg{}, fmt.Errorf("status_msg is %s, want a string or null", showJSON(value))
	}
}

func parseCurrentlyActive(value []byte) (bool, error) {
	switch value[0] {
	case 't':
		return true, nil
	case 'f', 'n':
		return false, nil
	default:
		return false, fmt.Errorf("currently_active is %s, want true, false or null", showJSON(value))
	}
}
