package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

const maxHeaderBytes = 256 // longest ID and trace context

// Update is one presence update that is to be published.
type Update struct {
	// State is what is published: the JSON it was decoded from, byte for byte,
	// where it was and says the same (ParseUpdate), else the seven known fields.
	State presence.UserState
	// ID makes publishing again harmless: of updates with the same ID of Publishers
	// with the same IDKey the server stores one within its duplicate window (2
	// minutes, unless the stream was given another). It is at most 256 visible
	// characters of ASCII. It costs the server about 200 bytes of memory while the
	// window lasts. An update without an ID is published once, and not again where it
	// is unknown whether it was stored.
	ID string
	// Traceparent is a W3C trace context that the deliveries will carry; "" for none.
	Traceparent string
}

// ParseUpdate returns the update that json describes, as DecodeUpdate of package
// wire has it: errors are *wire.InvalidError, and json is kept, not copied.
func ParseUpdate(json []byte) (Update, error) {
	state, err := wire.DecodeUpdate(json, 0, len(json))
	return Update{State: state}, err
}

// message returns what is published.
func (u Update) message(subjects wire.Subjects, ids messageIDs, maxBytes int) (*nats.Msg, error) {
	if err := u.validate(); err != nil {
		return nil, err
	}
	data := wire.AppendState(nil, u.State)
	if len(data) > maxBytes {
		return nil, &wire.InvalidError{Reason: wire.TooLarge, Err: fmt.Errorf("update is %d bytes, at most %d are allowed", len(data), maxBytes)}
	}
	m := &nats.Msg{Subject: subjects.Update(u.State.UserID), Data: data}
	if u.ID != "" || u.Traceparent != "" {
		m.Header = make(nats.Header, 2)
		set(m.Header, jetstream.MsgIDHeader, ids.of(u.ID))
		set(m.Header, wire.TraceHeader, u.Traceparent)
	}
	return m, nil
}

func set(header nats.Header, name, value string) {
	if value != "" {
		header[name] = []string{value}
	}
}

// validate finds what a worker would make a dead letter of, and what a header
// cannot carry.
func (u Update) validate() error {
	if err := u.State.Validate(); err != nil {
		return &wire.InvalidError{Reason: reasonOf(err), Err: err}
	}
	if !isHeaderText(u.ID) {
		return fmt.Errorf("ID is %.300q: want at most %d visible characters of ASCII", u.ID, maxHeaderBytes)
	}
	if !isHeaderText(u.Traceparent) {
		return fmt.Errorf("traceparent is %.300q: want at most %d visible characters of ASCII", u.Traceparent, maxHeaderBytes)
	}
	return nil
}

func reasonOf(err error) wire.Reason {
	switch {
	case errors.Is(err, presence.ErrInvalidUserID):
		return wire.InvalidUserID
	case errors.Is(err, presence.ErrInvalidState):
		return wire.InvalidState
	default:
		return wire.Malformed
	}
}

// isHeaderText reports whether a header carries text as it is.
func isHeaderText(text string) bool {
	isHidden := func(r rune) bool { return r <= ' ' || r > '~' }
	return len(text) <= maxHeaderBytes && strings.IndexFunc(text, isHidden) < 0
}
