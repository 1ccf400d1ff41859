package natsserver

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
)

const (
	logMessage = "nats-server says"
	logText    = "text"
)

// logger hands what the server logs to slog. A fatal error is kept for Start
// instead.
type logger struct {
	to    *slog.Logger
	fatal chan error // holds the first fatal error

	ending atomic.Bool // the server is being shut down
}

func newLogger(to *slog.Logger) *logger {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	return &logger{to: to, fatal: make(chan error, 1)}
}

// Noticef logs what the server says in passing, at debug level.
func (l *logger) Noticef(format string, v ...any) {
	l.to.Debug(logMessage, logText, fmt.Sprintf(format, v...))
}

// Warnf logs at warn level.
func (l *logger) Warnf(format string, v ...any) { l.log(slog.LevelWarn, format, v) }

// Errorf logs at error level.
func (l *logger) Errorf(format string, v ...any) { l.log(slog.LevelError, format, v) }

// log logs at a level, or at debug level what a server says that is being shut down:
// that its streams are closed while they are written to.
func (l *logger) log(level slog.Level, format string, v []any) {
	if l.ending.Load() {
		level = slog.LevelDebug
	}
	l.to.Log(context.Background(), level, logMessage, logText, fmt.Sprintf(format, v...)) //nolint:forbidigo // The server hands on no context.
}

// Fatalf keeps the first error; the server goes on without what it could not do.
func (l *logger) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Errorf(format, v...):
	default:
	}
}

// Debugf is not called: the server's debug log is off.
func (l *logger) Debugf(string, ...any) {}

// Tracef is not called: the server's trace is off.
func (l *logger) Tracef(string, ...any) {}
