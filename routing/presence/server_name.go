package presence

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// maxHostBytes is the longest host that Matrix allows, the port left aside.
const maxHostBytes = 255

// ErrInvalidServerName is wrapped by every error that ParseServerName returns.
var ErrInvalidServerName = errors.New("invalid server name")

// ServerName is a Matrix server name: a DNS name, an IPv4 address or an IPv6
// address in brackets, with an optional port. Server names are case-sensitive.
// Holding a non-zero ServerName proves that it is valid.
type ServerName struct {
	name string
}

// ParseServerName returns the server name that s spells, or an error wrapping
// ErrInvalidServerName (Matrix specification, appendices, "Server name").
func ParseServerName(s string) (ServerName, error) {
	if err := checkServerName(s); err != nil {
		return ServerName{}, err
	}
	return ServerName{name: s}, nil
}

// MustServerName is ParseServerName for literals in tests and examples; it
// panics where ParseServerName returns an error.
func MustServerName(s string) ServerName {
	name, err := ParseServerName(s)
	if err != nil {
		panic(err)
	}
	return name
}

// String returns the name as Matrix writes it, or "" for the zero ServerName.
func (s ServerName) String() string { return s.name }

// IsZero reports whether s is the zero ServerName, which names no server.
func (s ServerName) IsZero() bool { return s.name == "" }

// MarshalText returns the name as Matrix writes it.
func (s ServerName) MarshalText() ([]byte, error) { return []byte(s.name), nil }

// UnmarshalText parses the name with the errors of ParseServerName.
func (s *ServerName) UnmarshalText(text []byte) error {
	name, err := ParseServerName(string(text))
	if err != nil {
		return err
	}
	*s = name
	return nil
}

func checkServerName(s string) error {
	host, port, hasPort := splitPort(s)
	if err := checkHost(host); err != nil {
		return fmt.Errorf("%w %q: %w", ErrInvalidServerName, s, err)
	}
	if hasPort && !isPort(port) {
		return fmt.Errorf("%w %q: port %q is not 1 to 5 digits", ErrInvalidServerName, s, port)
	}
	return nil
}

// splitPort cuts at the last colon, unless that stands inside the brackets of
// an IPv6 address.
func splitPort(s string) (host, port string, hasPort bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon <= strings.LastIndexByte(s, ']') { // or there is neither
		return s, "", false
	}
	return s[:colon], s[colon+1:], true
}

func isPort(s string) bool {
	if len(s) < 1 || len(s) > 5 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

func checkHost(host string) error {
	if host == "" {
		return errors.New("the host is empty")
	}
	if len(host) > maxHostBytes {
		return fmt.Errorf("the host has %d bytes, at most %d are allowed", len(host), maxHostBytes)
	}
	if host[0] == '[' {
		return checkIPv6(host)
	}
	for i := range len(host) {
		if !isHostByte(host[i]) {
			return fmt.Errorf("byte %q is not allowed in a host", host[i])
		}
	}
	return nil
}

func checkIPv6(host string) error {
	inner, found := strings.CutSuffix(host[1:], "]")
	if !found {
		return errors.New("the IPv6 address has no closing bracket")
	}
	addr, err := netip.ParseAddr(inner)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return fmt.Errorf("%q is no IPv6 address", inner)
	}
	return nil
}

func isHostByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.'
}
