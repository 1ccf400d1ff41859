package wait_test

import (
	"context"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

func TestPauseEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wait.Pause(ctx, time.Hour) // else the test does not end
}

func TestEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	if wait.Ended(ctx) {
		t.Error("Ended = true before the context ended")
	}
	cancel()
	if !wait.Ended(ctx) {
		t.Error("Ended = false after the context ended")
	}
}
