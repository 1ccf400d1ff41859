package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// signalError is why a context ended.
type signalError struct{ signal os.Signal }

func (s *signalError) Error() string { return fmt.Sprintf("signal: %v", s.signal) }

// untilSignal returns a context that ends at the first signal to stop. The second
// one ends the process. SIGHUP, which a closing terminal sends, stops too, unless
// hangUp takes it or the process was started to ignore it; it may come twice, so it
// is never the second signal. stop ends the watch.
func untilSignal(parent context.Context, hangUp func() bool) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for received := range signals {
			switch {
			case received == syscall.SIGHUP && hangUp():
			case ctx.Err() == nil:
				cancel(&signalError{received})
			case received != syscall.SIGHUP:
				os.Exit(ExitFailed)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		close(signals)
		<-watched
	}
}
