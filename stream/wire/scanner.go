package wire

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// scanner walks over one JSON text and checks the whole of it on the way: RFC
// 8259, in valid UTF-8, nested no deeper than it is told.
type scanner struct {
	data  []byte
	at    int // index of the next byte
	depth int // how many objects and arrays are open
	limit int // how many may be
}

// scanObject calls visit with each key, unescaped, and value of the object that
// data is. Nothing but the object may be in data, nested at most limit deep. Errors
// say at which byte, counted from 0, or are those of visit.
func scanObject(data []byte, limit int, visit func(key, value []byte) error) error {
	s := scanner{data: data, limit: limit}
	if !utf8.Valid(data) {
		s.at = invalidUTF8(data)
		return fmt.Errorf("byte %d: want valid UTF-8, got %#02x", s.at, data[s.at])
	}
	if s.next() != '{' {
		return s.unexpected("a JSON object")
	}
	if err := s.object(visit); err != nil {
		return err
	}
	if s.next(); s.at < len(s.data) {
		return s.unexpected("nothing after the object")
	}
	return nil
}

// next skips whitespace and returns the byte after it, 0 at the end of the data.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// value skips whitespace and one value, and returns the value.
func (s *scanner) value() ([]byte, error) {
	first := s.next()
	start := s.at
	err := s.skip(first)
	return s.data[start:s.at], err
}

func (s *scanner) skip(first byte) error {
	switch first {
	case '"':
		_, err := s.text()
		return err
	case '{':
		return s.object(nil)
	case '[':
		return s.array(nil)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) object(visit func(key, value []byte) error) error {
	if err := s.open(); err != nil {
		return err
	}
	if s.next() == '}' {
		return s.closed()
	}
	for {
		if err := s.member(visit); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.at++
		case '}':
			return s.closed()
		default:
			return s.unexpected("a comma or a closing brace")
		}
	}
}

func (s *scanner) member(visit func(key, value []byte) error) error {
	if s.next() != '"' {
		return s.unexpected("a key in quotes")
	}
	key, err := s.text()
	if err != nil {
		return err
	}
	if s.next() != ':' {
		return s.unexpected("a colon after the key")
	}
	s.at++
	value, err := s.value()
	if err != nil || visit == nil {
		return err
	}
	return visit(unescape(key), value)
}

// array calls visit with each value of the array, the whitespace around it
// included.
func (s *scanner) array(visit func(value []byte) error) error {
	if err := s.open(); err != nil {
		return err
	}
	start := s.at
	if s.next() == ']' {
		return s.closed()
	}
	s.at = start
	for {
		if err := s.element(visit); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.at++
		case ']':
			return s.closed()
		default:
			return s.unexpected("a comma or a closing bracket")
		}
	}
}

func (s *scanner) element(visit func(value []byte) error) error {
	start := s.at
	if _, err := s.value(); err != nil || visit == nil {
		return err
	}
	s.next()
	return visit(s.data[start:s.at])
}

func (s *scanner) open() error {
	if s.depth == s.limit {
		return fmt.Errorf("byte %d: nested deeper than %d objects and arrays", s.at, s.limit)
	}
	s.depth++
	s.at++
	return nil
}

func (s *scanner) closed() error {
	s.depth--
	s.at++
	return nil
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.at:], []byte(word)) {
		return s.unexpected("a JSON value")
	}
	s.at += len(word)
	return nil
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	switch c := s.peek(); {
	case c == '0':
		s.at++
	case isDigit(c):
		s.digits()
	default:
		return s.unexpected("a JSON value")
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return s.unexpected("a digit")
		}
	}
	if c := s.peek(); c != 'e' && c != 'E' {
		return nil
	}
	s.at++
	if c := s.peek(); c == '+' || c == '-' {
		s.at++
	}
	if !s.digits() {
		return s.unexpected("a digit")
	}
	return nil
}

// digits skips digits and reports whether there were any.
func (s *scanner) digits() bool {
	start := s.at
	for isDigit(s.peek()) {
		s.at++
	}
	return s.at > start
}

// peek returns the next byte, 0 at the end of the data.
func (s *scanner) peek() byte {
	if s.at == len(s.data) {
		return 0
	}
	return s.data[s.at]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) unexpected(want string) error {
	if s.at >= len(s.data) {
		return fmt.Errorf("byte %d: want %s, got the end", s.at, want)
	}
	r, _ := utf8.DecodeRune(s.data[s.at:])
	return fmt.Errorf("byte %d: want %s, got %q", s.at, want, r)
}

// invalidUTF8 returns the index of the first byte that is no UTF-8, which data
// must have.
func invalidUTF8(data []byte) int {
	for at := 0; ; {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
}
