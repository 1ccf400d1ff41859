package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// Batch is what is to be sent to one server in one transaction. A batch that is
// handed over again, because its sending failed, is the same to the byte.
type Batch struct {
	ID          string              // unique; the same where the batch is handed over again
	Origin      presence.ServerName // the server of all users in the batch
	Destination presence.ServerName
	Time        time.Time         // of the first hand-over, which ages are computed for
	Contents    []json.RawMessage // each the content of one m.presence EDU: at most 50 states, in 64 KiB with what is around
	States      int               // in all contents
}

// Send sends a batch and returns nil when its destination has it for good. An error
// that wraps an *Unsent says that the destination got nothing of it this time. Any other
// error leaves open what the destination has: the same batch is handed over again. ctx ends
// when the sender has to stop, or may have been replaced by another one: the batch is
// to be abandoned then, where that is still possible.
type Send func(ctx context.Context, batch Batch) error

// Unsent is the error about a batch that did not reach its destination in any part. If an
// earlier hand-over did not either, its states go back, are merged with newer ones, and
// leave in another batch.
type Unsent struct{ Err error }

func (u *Unsent) Error() string { return fmt.Sprintf("not sent: %v", u.Err) }

// Unwrap returns what kept the batch from its destination.
func (u *Unsent) Unwrap() error { return u.Err }

// RetryAfter is the error of a destination that says when to try again.
type RetryAfter struct {
	After time.Duration // from now on
	Err   error
}

func (r *RetryAfter) Error() string { return fmt.Sprintf("try again after %v: %v", r.After, r.Err) }

// Unwrap returns what the destination refused with.
func (r *RetryAfter) Unwrap() error { return r.Err }
