package presence

import (
	"errors"
	"fmt"
)

// ErrInvalidTime is wrapped by the error about a time before the epoch.
var ErrInvalidTime = errors.New("invalid time")

// UserState is the presence of one user at one moment, Synapse's
// UserPresenceState. It is a value: routers copy and change it freely. Times are
// milliseconds since the epoch, 0 where unknown.
type UserState struct {
	UserID               UserID
	State                State
	LastActive           int64 // last_active_ts
	LastFederationUpdate int64 // last_federation_update_ts
	LastUserSync         int64 // last_user_sync_ts
	StatusMsg            StatusMsg
	CurrentlyActive      bool

	published *Published
}

// StatusMsg is the text a user set beside the state. The zero StatusMsg is none
// at all (JSON null), which differs from a text that is empty.
type StatusMsg struct {
	Text  string
	IsSet bool
}

// Status returns the StatusMsg that holds text.
func Status(text string) StatusMsg { return StatusMsg{Text: text, IsSet: true} }

// Published is the update that a state was decoded from. It is shared: nobody
// modifies it.
type Published struct {
	// JSON is the update as its publisher wrote it, unknown fields included.
	JSON []byte
	// Position orders updates as they were published, from 1; on the stream path
	// it is the sequence in the updates stream.
	Position uint64

	state UserState
}

// FromUpdate returns the state with the update it was decoded from attached:
// json is kept, not copied. Copies of the state remember the update, altered or
// not.
func (s UserState) FromUpdate(json []byte, position uint64) UserState {
	s.published = nil
	s.published = &Published{JSON: json, Position: position, state: s}
	return s
}

// Published returns the update that s or the state s was copied from was decoded
// from, nil where a router made the state up.
func (s UserState) Published() *Published { return s.published }

// Altered reports whether s says something else than the update it came from. A
// state that came from no update is altered.
func (s UserState) Altered() bool {
	return s.published == nil || !s.Same(s.published.state)
}

// Same reports whether both states say the same: all fields are equal, whatever
// updates they came from.
func (s UserState) Same(other UserState) bool { return s.Content() == other.Content() }

// Content returns what s says, without the update it came from. States that are
// the same have equal contents, so that it serves as a map key.
func (s UserState) Content() UserState {
	s.published = nil
	return s
}

// Validate returns nil where s can be delivered: it has a user, a valid state and
// no negative time. Otherwise it returns an error that names the field and wraps
// ErrInvalidUserID, ErrInvalidState or ErrInvalidTime.
func (s UserState) Validate() error {
	if s.UserID.IsZero() {
		return fmt.Errorf("%w: user_id is missing", ErrInvalidUserID)
	}
	if _, err := ParseState(string(s.State)); err != nil {
		return err
	}
	for _, t := range []struct {
		field string
		value int64
	}{
		{"last_active_ts", s.LastActive},
		{"last_federation_update_ts", s.LastFederationUpdate},
		{"last_user_sync_ts", s.LastUserSync},
	} {
		if t.value < 0 {
			return fmt.Errorf("%w: %s is %d, at least 0 is allowed", ErrInvalidTime, t.field, t.value)
		}
	}
	return nil
}
