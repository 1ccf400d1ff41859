package wait

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
)

// Reminder is how often a stall that lasts is logged again.
const Reminder = time.Minute

var errNotConnected = errors.New("not connected to NATS")

// Stall logs that something does not go on, once when it begins, now and then
// while it lasts, and once when it is over, however often it is tried. Several
// parties may share one, such as partitions; it is over when it is for all.
type Stall struct {
	log  *slog.Logger
	what string // what does not go on

	mu      sync.Mutex
	failing map[int]bool // the parties that do not go on
	since   time.Time    // zero while it goes on
	logged  time.Time    // last line about a try that failed, of this stall or an earlier one
	told    bool         // whether this stall has been logged
	tries   int
	cause   error
}

// NewStall returns a stall of what, such as "reading updates", that logs to log.
func NewStall(log *slog.Logger, what string) *Stall {
	return &Stall{log: log, what: what, failing: make(map[int]bool)}
}

// Failed notes one try that failed, where there is one party.
func (s *Stall) Failed(err error) { s.FailedFor(0, err) }

// FailedFor notes one try of a party that failed.
func (s *Stall) FailedFor(party int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = errNotConnected // That text is about a buffer, which there is none of.
	}
	now := time.Now()
	if len(s.failing) == 0 {
		s.since = now
	}
	s.failing[party] = true
	s.tries++
	s.cause = err
	if now.Sub(s.logged) < Reminder {
		return
	}
	s.logged, s.told = now, true
	s.log.Warn("waiting, nothing is lost", "what", s.what, "error", err, "since", s.since, "tries", s.tries)
}

// Ended notes that it goes on, where there is one party.
func (s *Stall) Ended() { s.EndedFor(0) }

// EndedFor notes that it goes on for a party.
func (s *Stall) EndedFor(party int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failing, party)
	if len(s.failing) > 0 {
		return
	}
	if s.told {
		s.log.Info("going on", "what", s.what, "after", time.Since(s.since).Round(time.Millisecond), "tries", s.tries)
	}
	s.told, s.tries, s.cause = false, 0, nil
}

// Forget notes that a party does not try any more.
func (s *Stall) Forget(party int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failing, party)
	if len(s.failing) == 0 {
		s.told, s.tries, s.cause = false, 0, nil
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

// The pauses between tries.
const (
	firstPause   = 50 * time.Millisecond
	LongestPause = 2 * time.Second
)

// NewBackOff returns pauses that grow from 50 ms to LongestPause, with jitter, and do
// not end by themselves.
func NewBackOff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(LongestPause),
		backoff.WithMaxElapsedTime(0),
	)
}

// Pause waits for d or the end of ctx.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
