package wire

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidToken is wrapped by every error that DecodeToken returns.
var ErrInvalidToken = errors.New("invalid subject token")

const (
	emptyToken = "%" // stands for the empty string, as a subject token has at least one byte
	upperHex   = "0123456789ABCDEF"
)

// EncodeToken returns s as one subject token: every byte outside
// A-Z a-z 0-9 - _ = + / ~ @ becomes %XX, and the empty string is "%".
func EncodeToken(s string) string {
	return string(AppendToken(make([]byte, 0, len(s)+16), s))
}

// AppendToken appends EncodeToken(s) to dst.
func AppendToken(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, emptyToken...)
	}
	done := 0
	for i := range len(s) {
		if c := s[i]; !isTokenByte(c) {
			dst = append(dst, s[done:i]...)
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
			done = i + 1
		}
	}
	return append(dst, s[done:]...)
}

// DecodeToken returns the string that EncodeToken made token of. A token that
// EncodeToken never makes gives an error wrapping ErrInvalidToken.
func DecodeToken(token string) (string, error) {
	if token == emptyToken {
		return "", nil
	}
	if isPlainToken(token) {
		return token, nil
	}
	s, err := unescapeToken(token)
	if err != nil {
		return "", fmt.Errorf("%w %s: %w", ErrInvalidToken, quoteShort(token), err)
	}
	return s, nil
}

func isPlainToken(token string) bool {
	for i := range len(token) {
		if !isTokenByte(token[i]) {
			return false
		}
	}
	return token != ""
}

func unescapeToken(token string) (string, error) {
	if token == "" {
		return "", errors.New("it is empty")
	}
	var b strings.Builder
	b.Grow(len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c == '%' {
			escaped, err := unescapeByte(token[i:])
			if err != nil {
				return "", err
			}
			c, i = escaped, i+2
		} else if !isTokenByte(c) {
			return "", fmt.Errorf("byte %q must be written as %%%02X", c, c)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// unescapeByte returns the byte that the %XX at the start of s stands for.
func unescapeByte(s string) (byte, error) {
	if len(s) < 3 {
		return 0, errors.New("% must be followed by two hex digits")
	}
	high, low := strings.IndexByte(upperHex, s[1]), strings.IndexByte(upperHex, s[2])
	if high < 0 || low < 0 {
		return 0, fmt.Errorf("%q must be %% and two upper-case hex digits", s[:3])
	}
	c := byte(high<<4 | low) //nolint:gosec // Both are below 16.
	if isTokenByte(c) {
		return 0, fmt.Errorf("%s must be written as %c", s[:3], c)
	}
	return c, nil
}

func isTokenByte(c byte) bool {
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
		return true
	}
	switch c {
	case '-', '_', '=', '+', '/', '~', '@':
		return true
	default:
		return false
	}
}
