package sender

import (
	"context"
	"time"
)

// signal wakes one waiter; raised before the wait, it is not lost.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// await waits until s is raised, ctx ends or, unless that is negative, wait is over.
func (s signal) await(ctx context.Context, wait time.Duration) {
	var over <-chan time.Time
	if wait >= 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s:
	case <-over:
	case <-ctx.Done():
	}
}
