package wait

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

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
