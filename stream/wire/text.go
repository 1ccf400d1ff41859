package wire

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// text skips a JSON string and returns what is between the quotes, still escaped.
func (s *scanner) text() ([]byte, error) {
	s.at++
	start := s.at
	for {
		s.at += plainRun(s.data[s.at:])
		if s.at == len(s.data) {
			return nil, s.unexpected("a closing quote")
		}
		switch s.data[s.at] {
		case '"':
			s.at++
			return s.data[start : s.at-1], nil
		case '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		default:
			return nil, s.unexpected("no unescaped control character in a string")
		}
	}
}

// plainRun returns how many bytes from the first on are neither the end of a
// string nor an escape nor a control character.
func plainRun(data []byte) int {
	for i, c := range data {
		if c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return len(data)
}

func (s *scanner) escape() error {
	s.at++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return nil
	case 'u':
		s.at++
	default:
		return s.unexpected("an escape that JSON has")
	}
	start := s.at - 2
	for range 4 {
		if hexDigit(s.peek()) < 0 {
			return s.unexpected("a hex digit")
		}
		s.at++
	}
	unit := codeUnit(s.data[start:])
	if !utf16.IsSurrogate(unit) {
		return nil
	}
	if utf16.DecodeRune(unit, codeUnit(s.data[s.at:])) == utf8.RuneError {
		return s.unexpected("the other half of a surrogate pair")
	}
	s.at += 6
	return nil
}

// unescape returns the text that escaped, the inside of a JSON string, stands
// for. Surrogates stand in pairs, as text has checked. It allocates only where there
// is an escape.
func unescape(escaped []byte) []byte {
	i := bytes.IndexByte(escaped, '\\')
	if i < 0 {
		return escaped
	}
	text := make([]byte, 0, len(escaped))
	for rest := escaped; ; i = bytes.IndexByte(rest, '\\') {
		if i < 0 {
			return append(text, rest...)
		}
		text = append(text, rest[:i]...)
		text, rest = appendUnescaped(text, rest[i:])
	}
}

// appendUnescaped appends the character that the escape at the start of s stands
// for, and returns what follows the escape.
func appendUnescaped(text, s []byte) (after, rest []byte) {
	if c := s[1]; c != 'u' {
		return append(text, unescapedByte(c)), s[2:]
	}
	r, rest := codeUnit(s), s[6:]
	if utf16.IsSurrogate(r) {
		r, rest = utf16.DecodeRune(r, codeUnit(rest)), rest[6:]
	}
	return utf8.AppendRune(text, r), rest
}

func unescapedByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}

// codeUnit returns the value of the escape \u and four hex digits at the start of s,
// -1 where there is none.
func codeUnit(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	var unit rune
	for _, c := range s[2:6] {
		unit = unit<<4 | hexDigit(c)
	}
	return unit
}

// hexDigit returns the value of c, -1 where c is no hex digit.
func hexDigit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	default:
		return -1
	}
}

// appendText appends s as a JSON string, as encoding/json writes it without HTML
// escapes: bytes that are no UTF-8 become U+FFFD.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				dst = appendEscaped(append(dst, s[done:i]...), c)
				done = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if escape := runeEscape(r, size); escape != "" {
			dst = append(append(dst, s[done:i]...), escape...)
			done = i + size
		}
		i += size
	}
	return append(append(dst, s[done:]...), '"')
}

// runeEscape returns how a character outside ASCII is escaped, "" where it is
// written as it is.
func runeEscape(r rune, size int) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return `\ufffd`
	case r == '\u2028':
		return `\u2028`
	case r == '\u2029':
		return `\u2029`
	default:
		return ""
	}
}

func appendEscaped(dst []byte, c byte) []byte {
	const lowerHex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	default:
		return append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
	}
}

// textSize returns the number of bytes that appendText appends.
func textSize(s string) int {
	size := len(`""`) + len(s)
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			size++
		case r < ' ':
			size += len(appendEscaped(nil, s[i])) - 1
		case r == utf8.RuneError || r == '\u2028' || r == '\u2029':
			_, width := utf8.DecodeRuneInString(s[i:])
			if escape := runeEscape(r, width); escape != "" {
				size += len(escape) - width
			}
		}
	}
	return size
}
