package wait_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// A stall is told once when it begins and once when it is over for all.
func TestStallOfSeveralParties(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := wait.NewStall(slog.New(slog.NewTextHandler(&log, nil)), "reading updates")
	s.Ended()
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting before anything failed = %v", err)
	}
	for range 3 {
		s.FailedFor(1, errors.New("no responders"))
		s.FailedFor(2, errors.New("no responders"))
	}
	s.EndedFor(1)
	if err := s.Waiting(); err == nil || err.Error() != "reading updates: no responders" {
		t.Errorf("Waiting while one party fails = %v", err)
	}
	s.EndedFor(2)
	s.EndedFor(2)
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting after the end = %v", err)
	}
	lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "waiting, nothing is lost") || !strings.Contains(lines[1], "going on") ||
		!strings.Contains(lines[1], "tries=6") {
		t.Errorf("log is\n%swant one line of the begin, and one of the end after 6 tries", log.String())
	}
}

// A party that does not try any more does not keep the stall going, and does not say
// that it goes on.
func TestStallIsForgotten(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := wait.NewStall(slog.New(slog.NewTextHandler(&log, nil)), "reading updates")
	s.Failed(errors.New("no responders"))
	s.Forget(0)
	s.Ended()
	if err := s.Waiting(); err != nil {
		t.Errorf("Waiting = %v", err)
	}
	if strings.Contains(log.String(), "going on") {
		t.Errorf("log is\n%swant nothing of an end", log.String())
	}
}

func TestPauseEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wait.Pause(ctx, time.Hour) // else the test does not end
}
