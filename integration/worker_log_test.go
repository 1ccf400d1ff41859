package integration_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"sync"
)

// maxLogLines bounds what is kept of the log of a process. A worker that writes
// more is at fault, and every test says so.
const maxLogLines = 400

// workerLog keeps the first lines that a process writes and counts all of them.
type workerLog struct {
	mu      sync.Mutex
	lines   []string
	limit   int // of the lines that are kept
	total   int
	partial []byte
	grown   chan struct{} // closed, and made anew, with each line
}

func newWorkerLog() *workerLog { return &workerLog{limit: maxLogLines, grown: make(chan struct{})} }

// Write takes what the process wrote.
func (l *workerLog) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, data...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(data), nil
		}
		l.add(string(line))
		l.partial = rest
	}
}

func (l *workerLog) add(line string) {
	l.total++
	if len(l.lines) < l.limit {
		l.lines = append(l.lines, line)
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// keepAll has every line kept that comes from now on.
func (l *workerLog) keepAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = math.MaxInt
}

// matching returns the lines with text in them, and a channel that is closed when
// there are more lines.
func (l *workerLog) matching(text string) ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found, l.grown
}

// count returns how many lines there were in all.
func (l *workerLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// String returns the lines that are kept.
func (l *workerLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(slices.Clone(l.lines), string(l.partial)), "\n")
}
