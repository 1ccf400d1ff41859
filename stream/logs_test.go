package stream_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// logs keeps what is logged, a line each.
type logs struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func newLogs() *logs { return new(logs) }

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Write keeps one line.
func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(line)
}

// String returns everything that was logged.
func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

// with returns the lines that hold every one of parts.
func (l *logs) with(parts ...string) []string {
	var found []string
	for line := range strings.Lines(l.String()) {
		holds := true
		for _, part := range parts {
			holds = holds && strings.Contains(line, part)
		}
		if holds {
			found = append(found, line)
		}
	}
	return found
}

func (l *logs) want(t *testing.T, n int, parts ...string) {
	t.Helper()
	if found := l.with(parts...); len(found) != n {
		t.Errorf("%d log lines hold %q, want %d:\n%s", len(found), parts, n, l)
	}
}

// wantReminders checks that a line is there, and again only as often as a reminder may be
// since the test began.
func (l *logs) wantReminders(t *testing.T, began time.Time, parts ...string) {
	t.Helper()
	most := 1 + int(time.Since(began)/wait.Reminder)
	if n := len(l.with(parts...)); n < 1 || n > most {
		t.Errorf("%d log lines hold %q, want 1 to %d:\n%s", n, parts, most, l)
	}
}

func (l *logs) await(t *testing.T, parts ...string) {
	t.Helper()
	eventually(t, "log line with "+strings.Join(parts, ", "), func() bool { return len(l.with(parts...)) > 0 })
}
