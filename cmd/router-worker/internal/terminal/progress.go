package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	progressInterval = 100 * time.Millisecond
	progressWidth    = 30
)

// Progress is a bar on one line of a terminal. On anything else it writes
// nothing. It is used by one goroutine at a time.
type Progress struct {
	to    io.Writer // nil where there is no terminal
	total int64     // 0 where unknown
	began time.Time
	drawn time.Time
}

// NewProgress returns a bar on to, where that is a terminal; total is what done
// comes to in the end, 0 where that is unknown.
func NewProgress(to io.Writer, total int64) *Progress {
	p := &Progress{total: total, began: time.Now()}
	if IsTerminal(to) {
		p.to = to
	}
	return p
}

// IsTerminal reports whether people see what is written to w.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Show draws the bar anew, at most ten times a second.
func (p *Progress) Show(done int64, count int) {
	if p.to == nil || time.Since(p.drawn) < progressInterval {
		return
	}
	p.drawn = time.Now()
	rate := float64(count) / time.Since(p.began).Seconds()
	_, _ = fmt.Fprintf(p.to, "\r\x1b[K%s%d updates, %.0f/s", p.bar(done), count, rate)
}

// Step draws the bar anew, with what is done next beside it. Where all is done, it
// takes the bar away.
func (p *Progress) Step(done, total int, what string) {
	if p.to == nil {
		return
	}
	if done == total {
		p.Clear()
		return
	}
	p.drawn, p.total = time.Now(), int64(total)
	_, _ = fmt.Fprintf(p.to, "\r\x1b[K%s%s", p.bar(int64(done)), what)
}

// Clear takes the bar away, so that something else can be written.
func (p *Progress) Clear() {
	if p.to != nil && !p.drawn.IsZero() {
		_, _ = io.WriteString(p.to, "\r\x1b[K")
		p.drawn = time.Time{}
	}
}

func (p *Progress) bar(done int64) string {
	if p.total <= 0 {
		return ""
	}
	done = min(done, p.total)
	full := int(done * progressWidth / p.total)
	return fmt.Sprintf("[%s%s] %3d%%  ", strings.Repeat("=", full), strings.Repeat(" ", progressWidth-full), done*100/p.total)
}
