package presence

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxUserIDBytes is the longest user ID that Matrix allows, sigil and server
// name included (Matrix specification, appendices, "User identifiers").
const MaxUserIDBytes = 255

// ErrInvalidUserID is wrapped by every error that ParseUserID returns.
var ErrInvalidUserID = errors.New("invalid user ID")

// UserID is a Matrix user ID such as @alice:example.com. Holding a non-zero
// UserID proves that it is valid; UserIDs are comparable and make map keys.
type UserID struct {
	id string
}

// ParseUserID returns the user ID that s spells, or an error wrapping
// ErrInvalidUserID that says what is wrong. The first colon splits localpart
// and server name. Historical localparts are accepted: any UTF-8 but colon and
// NUL, also none at all.
func ParseUserID(s string) (UserID, error) {
	if len(s) > MaxUserIDBytes {
		return UserID{}, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidUserID, len(s), MaxUserIDBytes)
	}
	if !strings.HasPrefix(s, "@") {
		return UserID{}, fmt.Errorf("%w %q: does not start with @", ErrInvalidUserID, s)
	}
	localpart, server, found := strings.Cut(s[1:], ":")
	if !found {
		return UserID{}, fmt.Errorf("%w %q: has no colon before the server name", ErrInvalidUserID, s)
	}
	if strings.Contains(localpart, "\x00") {
		return UserID{}, fmt.Errorf("%w %q: has a NUL byte", ErrInvalidUserID, s)
	}
	if !utf8.ValidString(localpart) {
		return UserID{}, fmt.Errorf("%w %q: is not UTF-8, which JSON cannot carry", ErrInvalidUserID, s)
	}
	if err := checkServerName(server); err != nil {
		return UserID{}, fmt.Errorf("%w %q: %w", ErrInvalidUserID, s, err)
	}
	return UserID{id: s}, nil
}

// MustUserID is ParseUserID for literals in tests and examples; it panics where
// ParseUserID returns an error.
func MustUserID(s string) UserID {
	id, err := ParseUserID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// NewUserID joins a localpart and a server name, with the errors of ParseUserID.
func NewUserID(localpart string, server ServerName) (UserID, error) {
	if strings.Contains(localpart, ":") {
		return UserID{}, fmt.Errorf("%w: localpart %q has a colon", ErrInvalidUserID, localpart)
	}
	return ParseUserID("@" + localpart + ":" + server.name)
}

// String returns the user ID as Matrix writes it, or "" for the zero UserID.
func (u UserID) String() string { return u.id }

// IsZero reports whether u is the zero UserID, which names nobody.
func (u UserID) IsZero() bool { return u.id == "" }

// Localpart returns what stands between @ and the first colon. It may be empty.
func (u UserID) Localpart() string {
	if u.id == "" {
		return ""
	}
	return u.id[1:strings.IndexByte(u.id, ':')]
}

// Server returns the name of the server that the user belongs to.
func (u UserID) Server() ServerName {
	if u.id == "" {
		return ServerName{}
	}
	return ServerName{name: u.id[strings.IndexByte(u.id, ':')+1:]}
}

// Compare orders user IDs by their bytes.
func (u UserID) Compare(other UserID) int { return strings.Compare(u.id, other.id) }

// MarshalText returns the user ID as Matrix writes it.
func (u UserID) MarshalText() ([]byte, error) { return []byte(u.id), nil }

// UnmarshalText parses the user ID with the errors of ParseUserID.
func (u *UserID) UnmarshalText(text []byte) error {
	id, err := ParseUserID(string(text))
	if err != nil {
		return err
	}
	*u = id
	return nil
}
