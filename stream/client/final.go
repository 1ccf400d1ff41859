package client

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// isFinal reports whether err stays the same however often it is tried again.
// Everything else is taken for a server or a worker that is away, or busy.
func isFinal(err error) bool {
	for _, final := range []error{
		nats.ErrConnectionClosed, nats.ErrMaxPayload, nats.ErrHeadersNotSupported, nats.ErrBadSubject,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount, errLate, errWrongStream,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	if q, ok := errors.AsType[*wire.QueryError](err); ok {
		return q.Code != wire.CodeUnavailable
	}
	const clientErrors, tooMany = 4, 429 // the request itself is at fault, but for tooMany
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code/100 == clientErrors && api.Code != tooMany
}
