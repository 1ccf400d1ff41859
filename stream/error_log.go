package stream

import (
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// errorLog logs the asynchronous errors of a connection, each kind at most once
// in wait.Reminder: a permission that is missing comes up with every message, and for
// every partition.
type errorLog struct {
	log *slog.Logger

	mu     sync.Mutex
	logged map[string]time.Time
}

// decimals tell partitions apart, and no kinds of errors.
var decimals = regexp.MustCompile(`[0-9]+`)

// errorLogKinds bounds how many kinds of errors are told apart.
const errorLogKinds = 64

func newErrorLog(log *slog.Logger) *errorLog {
	return &errorLog{log: log, logged: make(map[string]time.Time)}
}

func (l *errorLog) handle(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	if l.due(decimals.ReplaceAllLiteralString(err.Error(), "#")) {
		l.log.Warn("NATS reports an error", "error", err, "subscription", subject)
	}
}

func (l *errorLog) due(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.logged[kind]) < wait.Reminder {
		return false
	}
	if len(l.logged) >= errorLogKinds {
		clear(l.logged)
	}
	l.logged[kind] = now
	return true
}
