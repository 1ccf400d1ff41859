package federation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// UnreachableError is the error about a server that nothing was sent to: it was not
// found, did not answer, or its certificate does not prove who it is.
type UnreachableError struct{ Err error }

func (u *UnreachableError) Error() string { return "nothing was sent: " + u.Err.Error() }

// Unwrap returns why nothing was sent.
func (u *UnreachableError) Unwrap() error { return u.Err }

// StatusError is the error about an answer other than 200.
type StatusError struct {
	Status     int
	Code       string        // errcode, such as M_LIMIT_EXCEEDED; empty where there is none
	RetryAfter time.Duration // when to try again as the server says; 0 where it does not
}

func (s *StatusError) Error() string {
	text := fmt.Sprintf("answer is %d %s", s.Status, http.StatusText(s.Status))
	if s.Code != "" {
		text += ", " + strconv.Quote(s.Code)
	}
	return text
}

// newStatusError reads what an answer says about itself.
func newStatusError(response *http.Response, body []byte, now time.Time) *StatusError {
	var said struct {
		Code         string `json:"errcode"`
		RetryAfterMS int64  `json:"retry_after_ms"`
	}
	_ = json.Unmarshal(body, &said) // An answer of a proxy is anything.
	s := &StatusError{Status: response.StatusCode, Code: said.Code[:min(len(said.Code), maxCode)]}
	if header := response.Header.Get("Retry-After"); header != "" {
		s.RetryAfter = retryAfter(header, now)
	} else if said.RetryAfterMS > 0 && said.RetryAfterMS < longestWait.Milliseconds() {
		s.RetryAfter = time.Duration(said.RetryAfterMS) * time.Millisecond
	}
	return s
}

const (
	maxCode     = 64
	longestWait = 7 * 24 * time.Hour
)

// retryAfter reads seconds or a date; it returns 0 for what is neither.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, longestWait)
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(now)), longestWait)
}
