package client

import (
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
)

var (
	// ErrUnknownOutcome is wrapped by the error about an update that was published
	// without an answer: it may be stored, or be stored later.
	ErrUnknownOutcome = errors.New("it is unknown whether the update is stored")
	// ErrClosed is wrapped by the error of what is asked of a closed Publisher, and
	// of what it had not published when it was closed.
	ErrClosed = errors.New("the publisher is closed")
)

// PublishError is the error about one update.
type PublishError struct {
	User presence.UserID
	ID   string // of the update, where it has one
	Err  error
}

// Error names the update and says what is wrong.
func (e *PublishError) Error() string {
	if e.ID == "" {
		return fmt.Sprintf("publish update of %s: %v", e.User, e.Err)
	}
	return fmt.Sprintf("publish update %s of %s: %v", e.ID, e.User, e.Err)
}

// Unwrap returns Err.
func (e *PublishError) Unwrap() error { return e.Err }

// verdict is what an error says about the attempt to store one update.
type verdict int

const (
	notNow  verdict = iota // not stored, another attempt may be
	never                  // not stored, and no other attempt will be
	unknown                // stored or not
)

// judge returns the verdict of err.
func judge(err error) verdict {
	switch {
	case errors.Is(err, errAway):
		return notNow // nothing was sent
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return notNow // nobody took it: the stream is missing, or has no leader for a moment
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return notNow // nothing was sent
	case isFinal(err):
		return never
	case errors.As(err, new(*jetstream.APIError)):
		return notNow // the server answers with an error: it has stored nothing
	default:
		return unknown // no answer in time, the connection broke, or no sense in the answer
	}
}

// failures remembers what a Flush is to tell.
type failures struct {
	mu    sync.Mutex
	count int
	first error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		f.first = err
	}
	f.count++
}

// take returns one error about all failures and forgets them.
func (f *failures) take() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	count, first := f.count, f.first
	f.count, f.first = 0, nil
	if count <= 1 {
		return first
	}
	return fmt.Errorf("%d updates are not known to be stored, the first: %w", count, first)
}
