package routing

import (
	"errors"
	"fmt"
	"log/slog"
)

// ErrAllRoutersFailed is wrapped by the error of Dispatcher.InterestedUsers where
// routers are registered and none of them answered.
var ErrAllRoutersFailed = errors.New("all routers failed")

// FailureKind says how a router failed.
type FailureKind string

// The ways in which a router fails.
const (
	KindError     FailureKind = "error"     // it returned an error
	KindPanic     FailureKind = "panic"     // it panicked; Err wraps a *PanicError
	KindTimeout   FailureKind = "timeout"   // it did not answer in time, or too many earlier calls are stuck
	KindInvalid   FailureKind = "invalid"   // some of its answer cannot be delivered and is left out; the rest counts
	KindCancelled FailureKind = "cancelled" // the caller's context ended first; the router is not to blame
)

// Failure tells that a router failed in one call.
type Failure struct {
	Router  string // name in the registration
	Kind    FailureKind
	Err     error  // never nil
	OnError Policy // from the registration, never empty
}

// PanicError is the error made of a router's panic.
type PanicError struct {
	Value any    // what the router panicked with
	Stack []byte // stack of the goroutine, as runtime/debug formats it
}

// Error names the value that the router panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value that the router panicked with where that is an error,
// else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// attrs returns what the log says about f.
func (f *Failure) attrs() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("router", f.Router),
		slog.String("kind", string(f.Kind)),
		slog.String("on_error", string(f.OnError)),
		slog.Any("error", f.Err),
	}
	if p, ok := errors.AsType[*PanicError](f.Err); ok {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	return attrs
}
