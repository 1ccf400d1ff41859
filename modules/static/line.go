package static

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing/presence"
)

// line reads the JSON of one route strictly: keys as they are spelt, each once. It
// stops at the first thing that is no part of a route, but goes on behind a user ID
// that is invalid.
type line struct {
	number            int // from 1
	text              []byte
	at                int // index in text of what comes next
	recipients, users side
	faults            []*strictyaml.Fault // without file and line
	failed            bool                // nothing more is read
}

// side is one list of users. The memory is used again for the next line.
type side struct {
	key   string
	seen  bool
	users []presence.UserID
}

func (l *line) read(text []byte) {
	l.text, l.at, l.faults, l.failed = text, 0, nil, false
	l.recipients = side{key: recipientsKey, users: l.recipients.users[:0]}
	l.users = side{key: usersKey, users: l.users.users[:0]}
	if l.next() != '{' {
		l.fail(l.at, "", `is no route: want {"recipients": ["@alice:example.com"], "users": ["@bob:example.com"]} or the like`)
		return
	}
	l.at++
	l.separated('}', func(int) { l.side() })
	if l.next(); !l.failed && l.at < len(l.text) {
		l.fail(l.at, "", "follows the route: want one route in a line")
	}
	for _, s := range []*side{&l.recipients, &l.users} {
		if !l.failed && !s.seen {
			l.report(0, &fault.Field{Path: s.key, Bound: atLeastOne})
		}
	}
	slices.SortStableFunc(l.faults, func(a, b *strictyaml.Fault) int { return cmp.Compare(a.Column, b.Column) })
}

// side reads a key and the list that belongs to it.
func (l *line) side() {
	start := l.at
	key, ok := l.str("", -1, "a key in quotes")
	if !ok {
		return
	}
	var s *side
	switch key {
	case recipientsKey:
		s = &l.recipients
	case usersKey:
		s = &l.users
	default:
		l.fail(start, "", unknown(key))
		return
	}
	if s.seen {
		l.fail(start, key, "appears twice")
		return
	}
	s.seen = true
	if l.next() != ':' {
		l.fail(l.at, "", "is not JSON: want :")
		return
	}
	l.at++
	l.list(s)
}

func unknown(key string) string {
	if closest := strictyaml.Closest(key, []string{recipientsKey, usersKey}); closest != "" {
		return fmt.Sprintf("%.100q is not a known key: did you mean %s?", key, closest)
	}
	return fmt.Sprintf("%.100q is not a known key: want %s and %s", key, recipientsKey, usersKey)
}

func (l *line) list(s *side) {
	if l.next() != '[' {
		l.fail(l.at, s.key, "is no list: want user IDs in [ and ]")
		return
	}
	start := l.at
	l.at++
	l.separated(']', func(index int) { l.user(s, index) })
	if len(s.users) == 0 && !l.failed {
		l.report(start, &fault.Field{Path: s.key, Value: s.users, Bound: atLeastOne})
	}
}

func (l *line) user(s *side, index int) {
	start := l.at
	text, ok := l.str(s.key, index, "a user ID in quotes")
	if !ok {
		return
	}
	user, err := presence.ParseUserID(text)
	if err != nil {
		l.report(start, &fault.Field{Path: pathOf(s.key, index), Err: err})
	}
	s.users = append(s.users, user)
}

// separated reads items with commas between them, and what ends them.
func (l *line) separated(end byte, item func(index int)) {
	if l.next() == end {
		l.at++
		return
	}
	for index := 0; !l.failed; index++ {
		l.next()
		item(index)
		switch {
		case l.failed:
		case l.next() == end:
			l.at++
			return
		case l.next() == ',':
			l.at++
		default:
			l.fail(l.at, "", "is not JSON: want , or "+string(rune(end)))
		}
	}
}

// next skips blanks and returns the byte that follows them, 0 at the end.
func (l *line) next() byte {
	for ; l.at < len(l.text); l.at++ {
		if c := l.text[l.at]; c != ' ' && c != '\t' && c != '\r' {
			return c
		}
	}
	return 0
}

// str takes a text in quotes, which begins here: that of a user, or a key if index is
// negative.
func (l *line) str(key string, index int, wanted string) (text string, ok bool) {
	start, isPlain := l.at, true
	if l.next() != '"' {
		l.fail(start, pathOf(key, index), "is no text: want "+wanted)
		return "", false
	}
	for l.at++; l.at < len(l.text) && l.text[l.at] != '"'; l.at++ {
		if c := l.text[l.at]; c == '\\' || c < ' ' {
			isPlain = false
			l.at++
		}
	}
	if l.at >= len(l.text) {
		l.fail(start, pathOf(key, index), "is not JSON: the text has no closing quote")
		return "", false
	}
	l.at++
	if isPlain {
		return string(l.text[start+1 : l.at-1]), true
	}
	text, err := unescape(l.text[start:l.at])
	if err != nil {
		l.fail(start, pathOf(key, index), "is not JSON: "+err.Error())
	}
	return text, err == nil
}

func pathOf(key string, index int) string {
	if index < 0 {
		return key
	}
	return key + "[" + strconv.Itoa(index) + "]"
}

// unescape returns the text that stands in quotes. encoding/json makes U+FFFD of half a
// surrogate pair, and of bytes that are no UTF-8: both are errors.
func unescape(quoted []byte) (string, error) {
	if !utf8.Valid(quoted) {
		return "", errors.New("a text is not UTF-8")
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return "", err //nolint:wrapcheck // the caller says what it is about
	}
	if strings.Count(text, "\uFFFD") > strings.Count(string(quoted), "\uFFFD") {
		return "", errors.New("an escape is half a character")
	}
	return text, nil
}

// fail records why nothing more is read.
func (l *line) fail(at int, path, message string) {
	l.faults = append(l.faults, &strictyaml.Fault{Column: l.column(at), Path: path, Message: message})
	l.failed = true
}

func (l *line) report(at int, field *fault.Field) {
	f := strictyaml.Faults(field)[0]
	f.Column = l.column(at)
	l.faults = append(l.faults, f)
}

func (l *line) column(at int) int { return 1 + utf8.RuneCount(l.text[:at]) }
