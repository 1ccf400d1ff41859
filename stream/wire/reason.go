package wire

import "fmt"

// Reason says why an update became a dead letter; it is the last token of the
// dead letter's subject.
type Reason string

// The reasons.
const (
	Malformed       Reason = "malformed"        // no JSON object, or a field of the wrong type or out of range
	InvalidUserID   Reason = "invalid_user_id"  // user_id is missing or no user ID
	InvalidState    Reason = "invalid_state"    // state is missing or no presence state
	SubjectMismatch Reason = "subject_mismatch" // the subject does not name the user of the body
	TooLarge        Reason = "too_large"        // more bytes than are allowed
	RouterFailed    Reason = "router_failed"    // a router failed, and its policy says so
)

// Reasons returns every reason.
func Reasons() []Reason {
	return []Reason{Malformed, InvalidUserID, InvalidState, SubjectMismatch, TooLarge, RouterFailed}
}

// InvalidError is the error about an update that cannot be decoded.
type InvalidError struct {
	Reason Reason
	Err    error // names the field, its value and what is allowed
}

// Error returns the reason and what is wrong.
func (e *InvalidError) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *InvalidError) Unwrap() error { return e.Err }

func invalid(reason Reason, format string, args ...any) *InvalidError {
	return &InvalidError{Reason: reason, Err: fmt.Errorf(format, args...)}
}
