package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// reminder is how often a stall that lasts is logged again.
const reminder = time.Minute

// stall logs that something does not go on, once when it begins, now and then
// while it lasts, and once when it is over, however often and by however many
// goroutines it is tried.
type stall struct {
	log  *slog.Logger
	what string // what does not go on

	mu     sync.Mutex
	since  time.Time // zero while it goes on
	logged time.Time // last line about a try that failed, of this stall or an earlier one
	told   bool      // whether this stall has been logged
	tries  int
	cause  error
}

func newStall(log *slog.Logger, what string) *stall {
	return &stall{log: log, what: what}
}

// failed notes one try that failed.
func (s *stall) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	s.tries++
	s.cause = err
	if now.Sub(s.logged) < reminder {
		return
	}
	s.logged, s.told = now, true
	s.log.Warn("waiting, nothing is lost", "what", s.what, "error", err, "since", s.since, "tries", s.tries)
}

// ended notes that it goes on.
func (s *stall) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told {
		s.log.Info("going on", "what", s.what, "after", time.Since(s.since).Round(time.Millisecond), "tries", s.tries)
	}
	s.since, s.told, s.tries, s.cause = time.Time{}, false, 0, nil
}

// waiting returns nil while it goes on, else an error that says why it does not.
func (s *stall) waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return nil
	}
	return fmt.Errorf("%s: %w", s.what, s.cause)
}

// The pauses between tries: from the first to the longest, with jitter. Tries go
// on until the caller's context ends.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

func newBackOff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause),
		backoff.WithMaxElapsedTime(0),
	)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
