package sender

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
)

// reminder is how often a stall that lasts is logged again.
const reminder = time.Minute

var errNotConnected = errors.New("not connected to NATS")

// stall logs that something does not go on: once when it begins, now and then while
// it lasts, and once when it is over, however often it is tried.
type stall struct {
	log  *slog.Logger
	what string

	mu     sync.Mutex
	cause  error // nil while it goes on
	since  time.Time
	logged time.Time
}

func newStall(log *slog.Logger, what string) *stall { return &stall{log: log, what: what} }

func (s *stall) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = errNotConnected // That text is about a buffer, which there may be none of.
	}
	now := time.Now()
	if s.cause == nil {
		s.since = now
	}
	s.cause = err
	if now.Sub(s.logged) >= reminder {
		s.logged = now
		s.log.Warn("waiting, nothing is lost", "what", s.what, "error", err, "since", s.since)
	}
}

func (s *stall) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause != nil && !s.logged.Before(s.since) {
		s.log.Info("going on", "what", s.what, "after", time.Since(s.since).Round(time.Millisecond))
	}
	s.cause = nil
}

// waiting returns nil while it goes on, else an error that says why it does not.
func (s *stall) waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.what, s.cause)
}

// The pauses between tries at the NATS server.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

func newBackOff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause), backoff.WithMaxElapsedTime(0))
}
