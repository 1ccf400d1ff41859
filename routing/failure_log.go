package routing

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// failureLogInterval is the least time between two log lines about one router, so
// that a router that keeps failing does not fill the log.
const failureLogInterval = time.Second

// failureLog logs the failures of one router, some of them as a number only.
type failureLog struct {
	logger *slog.Logger

	mu      sync.Mutex
	next    time.Time // no line before
	omitted int       // failures since the last line
}

func (l *failureLog) write(ctx context.Context, f *Failure) {
	if f.Kind == KindCancelled {
		l.logger.LogAttrs(ctx, slog.LevelDebug, "router call cancelled", slog.String("router", f.Router))
		return
	}
	omitted, due := l.take(time.Now())
	if !due {
		return
	}
	l.logger.LogAttrs(ctx, slog.LevelWarn, "router failed", append(f.attrs(), slog.Int("omitted_lines", omitted))...)
}

// take reports whether a line is due at now, and how many were left out before it.
func (l *failureLog) take(now time.Time) (omitted int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next) {
		l.omitted++
		return 0, false
	}
	omitted, l.omitted = l.omitted, 0
	l.next = now.Add(failureLogInterval)
	return omitted, true
}
