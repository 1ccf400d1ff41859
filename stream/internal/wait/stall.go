package wait

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Reminder is how often a stall that lasts is logged again.
const Reminder = time.Minute

// MaxEnds bounds how many ends of stalls are logged in the time of a Reminder. The
// end of one stall more waits for its turn. A stall that begins meanwhile belongs to
// the one before: the line that is there says that it stands still.
const MaxEnds = 10

var errNotConnected = errors.New("not connected to NATS")

// Stall logs that something does not go on, once when it begins, now and then
// while it lasts, and once when it is over, however often it is tried. Several
// parties may share one, such as partitions; it is over when it is for all. The last
// line is never that it goes on while it stands still.
type Stall struct {
	log        *slog.Logger
	what       string // what does not go on
	begin, end string // the messages

	mu      sync.Mutex
	failing map[any]bool // the parties that do not go on
	since   time.Time    // when the stall began that the newest line is about
	logged  time.Time    // last line about a try that failed
	told    bool         // the newest line says that it stands still
	times   int          // that it stood still since then
	tries   int
	cause   error
	over    time.Time // when it went on last
	ends    budget
	due     *time.Timer // logs the end once it may be; nil for nothing to log
}

// NewStall returns a stall of what, such as "reading updates", that logs to log.
func NewStall(log *slog.Logger, what string) *Stall {
	return NewStallThat(log, what, "waiting, nothing is lost")
}

// NewStallThat is NewStall with what is logged when the stall begins.
func NewStallThat(log *slog.Logger, what, begin string) *Stall {
	s := NewOutage(log.With("what", what), begin, "going on")
	s.what = what
	return s
}

// NewOutage returns a stall that logs begin when it begins, and end when it is over.
func NewOutage(log *slog.Logger, begin, end string) *Stall {
	return &Stall{log: log, begin: begin, end: end, failing: make(map[any]bool), ends: newBudget(MaxEnds, Reminder)}
}

// Failed notes one try that failed, where there is one party.
func (s *Stall) Failed(err error) { s.FailedFor(0, err) }

// FailedFor notes one try of a party that failed.
func (s *Stall) FailedFor(party any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = errNotConnected // That text is about a buffer, which there is none of.
	}
	now := time.Now()
	if len(s.failing) == 0 {
		s.begins(now)
	}
	s.failing[party] = true
	s.tries++
	s.cause = err
	if s.told && now.Sub(s.logged) < Reminder {
		return
	}
	s.logged, s.told = now, true
	s.log.Warn(s.begin, append([]any{"error", err, "since", s.since}, s.counts()...)...) //nolint:sloglint // It is a constant of whoever made s.
}

// begins notes that it stands still. Where the end of the stall before is not logged
// yet, it has not ended for who reads the log.
func (s *Stall) begins(now time.Time) {
	s.settle()
	if !s.told {
		s.since, s.times, s.tries = now, 0, 0
	}
	s.times++
}

// counts is how often it stood still, if more than once, and was tried.
func (s *Stall) counts() []any {
	if s.times > 1 {
		return []any{"times", s.times, "tries", s.tries}
	}
	return []any{"tries", s.tries}
}

// settle keeps an end from being logged that waits for its turn.
func (s *Stall) settle() {
	if s.due != nil {
		s.due.Stop()
		s.due = nil
	}
}

// Ended notes that it goes on, where there is one party.
func (s *Stall) Ended() { s.EndedFor(0) }

// EndedFor notes that it goes on for a party.
func (s *Stall) EndedFor(party any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leave(party) {
		return
	}
	s.over = time.Now()
	if pause := s.ends.take(s.over); pause > 0 {
		s.due = time.AfterFunc(pause, s.sayLater)
		return
	}
	s.say()
}

// leave takes a party out. It reports whether it was the last that did not go on.
func (s *Stall) leave(party any) bool {
	if !s.failing[party] {
		return false
	}
	delete(s.failing, party)
	return len(s.failing) == 0
}

func (s *Stall) say() {
	s.log.Info(s.end, append([]any{"after", s.over.Sub(s.since).Round(time.Millisecond)}, s.counts()...)...) //nolint:sloglint // It is a constant of whoever made s.
	s.told = false
}

// sayLater logs an end that had to wait, unless it stands still again.
func (s *Stall) sayLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due != nil {
		s.settle()
		s.ends.take(time.Now())
		s.say()
	}
}

// Forget notes that a party does not try any more. Nothing is logged: whether it
// goes on for whoever tries next, nobody knows.
func (s *Stall) Forget(party any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leave(party) {
		s.told = s.ends.take(time.Now()) > 0
	}
}

// Close logs at once what waits for its turn. Nobody tries after it.
func (s *Stall) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due != nil {
		s.settle()
		s.say()
	}
}

// Waiting returns nil while it goes on, else an error that says why it does not.
func (s *Stall) Waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failing) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", s.what, s.cause)
}
