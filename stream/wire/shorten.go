package wire

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// shownBytes is how much of a value an error shows.
const shownBytes = 64

// shorten returns the first shownBytes of s, cut between characters, and an
// ellipsis where something is left out.
func shorten(s string) string {
	if len(s) <= shownBytes {
		return s
	}
	end := shownBytes
	for end > shownBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// quoteShort returns s shortened and in quotes.
func quoteShort(s string) string { return strconv.Quote(shorten(s)) }

// showJSON returns a JSON value shortened and on one line.
func showJSON(value []byte) string {
	return shorten(strings.Join(strings.Fields(string(value)), " "))
}
