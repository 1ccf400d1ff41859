package terminal

import (
	"fmt"
	"io"
)

// Line is one line of a terminal that is drawn anew as things change. On anything
// else it writes nothing. It is used by one goroutine at a time.
type Line struct {
	to io.Writer // nil where there is no terminal
}

// NewLine returns a line on to, where that is a terminal.
func NewLine(to io.Writer) *Line {
	if IsTerminal(to) {
		return &Line{to: to}
	}
	return &Line{}
}

// Show draws the line anew, and reports whether there is a terminal.
func (l *Line) Show(format string, args ...any) bool {
	if l.to == nil {
		return false
	}
	_, _ = fmt.Fprintf(l.to, "\r\x1b[K"+format, args...)
	return true
}

// Clear takes the line away, so that something else can be written.
func (l *Line) Clear() {
	if l.to != nil {
		_, _ = io.WriteString(l.to, "\r\x1b[K")
	}
}
