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
// one ends the process. stop ends the watch.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case received := <-signals:
			cancel(&signalError{received})
		case <-ctx.Done():
			return
		}
		if _, again := <-signals; again {
			os.Exit(ExitFailed)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		close(signals)
		<-watched
	}
}
