package wire

import (
	"errors"
	"strconv"
)

// The names of the queries.
const (
	InterestedUsers    = "interested_users"
	UsersForStates     = "users_for_states"
	SendOnlinePresence = "send_online_presence"
	CurrentStates      = "current_states"
)

// Queries returns the names of all queries.
func Queries() []string {
	return []string{InterestedUsers, UsersForStates, SendOnlinePresence, CurrentStates}
}

// What the service that answers queries is called, also as a queue group, and the
// version of this protocol that it speaks.
const (
	ServiceName    = "presence-router"
	ServiceVersion = "1.0.0"
)

// Bounds of queries.
const (
	DefaultLimit  = 1000    // of an answer to interested_users where the request has none
	MaxLimit      = 100_000 // of an answer to interested_users
	MaxQueryUsers = 1024    // in the request of send_online_presence and current_states
)

// The headers of an answer that is an error (NATS ADR-32).
const (
	ErrorHeader     = "Nats-Service-Error"      // a sentence that names the field
	ErrorCodeHeader = "Nats-Service-Error-Code" // a Code
)

// Code says what kind of error a query is answered with.
type Code int

// The codes of errors.
const (
	CodeInvalid       Code = 400 // the request is at fault
	CodeNotLocal      Code = 403 // the user asked for is of another homeserver
	CodeTooLarge      Code = 413 // the request, or one entry of its answer, is too large
	CodeRoutersFailed Code = 500 // routers are registered and all failed
	CodeUnavailable   Code = 503 // this replica stops, is too busy or cannot reach its streams: ask again
)

// QueryError is the error that a query is answered with.
type QueryError struct {
	Code Code
	Err  error // a sentence that names the field, its value and what is allowed
}

// Error returns the code and the sentence.
func (e *QueryError) Error() string { return strconv.Itoa(int(e.Code)) + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *QueryError) Unwrap() error { return e.Err }

// DecodeQueryError returns the error that the values of ErrorCodeHeader and
// ErrorHeader tell, nil where the code is missing: the answer is no error then.
func DecodeQueryError(code, sentence string) error {
	if code == "" {
		return nil
	}
	number, err := strconv.Atoi(code)
	if err != nil {
		return &QueryError{Code: CodeRoutersFailed, Err: errors.New("error code " + quoteShort(code) + ": " + sentence)}
	}
	return &QueryError{Code: Code(number), Err: errors.New(sentence)}
}
