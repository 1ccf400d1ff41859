package natsserver

import (
	"fmt"
	"log/slog"
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
func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn(logMessage, logText, fmt.Sprintf(format, v...))
}

// Errorf logs at error level.
func (l *logger) Errorf(format string, v ...any) {
	l.to.Error(logMessage, logText, fmt.Sprintf(format, v...))
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
