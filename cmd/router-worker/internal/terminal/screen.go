package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Screen shows one text in place of the one before, on a terminal.
type Screen struct {
	to   *os.File
	used bool
}

// NewScreen returns the screen of a terminal, or false where w is none.
func NewScreen(w io.Writer) (*Screen, bool) {
	file, ok := w.(*os.File)
	return &Screen{to: file}, ok && IsTerminal(file)
}

// Show shows text, of which lines that are too many or too long are cut off.
func (s *Screen) Show(text string) error {
	begin := "\x1b[H"
	if !s.used {
		begin = "\x1b[2J" + begin
	}
	s.used = true
	const noWrap, wrap, clearBelow = "\x1b[?7l", "\x1b[?7h", "\x1b[J"
	_, err := io.WriteString(s.to, begin+noWrap+s.fit(text)+clearBelow+wrap)
	if err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

// fit cuts text to the height of the terminal, where that is known, and has every
// line end with nothing of an earlier one.
func (s *Screen) fit(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	_, height, err := term.GetSize(int(s.to.Fd()))
	if most := height - 1; err == nil && most > 1 && len(lines) > most { // the last line is the cursor's
		left := len(lines) - most + 1
		lines = append(lines[:most-1], fmt.Sprintf("and %d more lines: make the window higher", left))
	}
	const clearRest = "\x1b[K"
	return strings.Join(lines, clearRest+"\r\n") + clearRest + "\r\n"
}
