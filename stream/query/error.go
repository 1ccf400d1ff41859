package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxSentence bounds the sentence of an error: it goes into a header, and what a
// router says may be of any length.
const maxSentence = 1 << 10

// unanswered says why a query whose time ctx holds is not answered: what the
// request is to blame for, that all routers failed, or that another replica or
// another moment may do better.
func unanswered(ctx context.Context, err error) *wire.QueryError {
	if q, ok := errors.AsType[*wire.QueryError](err); ok {
		return q
	}
	code := wire.CodeUnavailable
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case errors.Is(err, routing.ErrAllRoutersFailed):
		code = wire.CodeRoutersFailed
	case errors.Is(err, nats.ErrMaxPayload):
		code = wire.CodeTooLarge
	}
	return &wire.QueryError{Code: code, Err: err}
}

// sentence returns the text of q for a header: one line of bounded length.
func sentence(q *wire.QueryError) string {
	text := strings.ReplaceAll(q.Err.Error(), "\n", "; ")
	if len(text) > maxSentence {
		text = text[:maxSentence-len("…")] + "…"
	}
	return strings.Map(printable, strings.ToValidUTF8(text, ""))
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
