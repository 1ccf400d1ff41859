package client

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// Delivery is one delivery that was read.
type Delivery struct {
	wire.ReceivedDelivery // recipient, epoch, states and their sequences

	Data        []byte    // the JSON it was decoded from
	Subject     string    // says scope and shard, too
	Stored      time.Time // when it was committed
	Position    Position  // behind it, to go on from
	Pending     uint64    // how many of the same selection were stored behind it
	IsReplay    bool      // send_online_presence asked for it: its states may have been delivered before
	Traceparent string    // W3C trace context of an update in it, "" for none
}

// InvalidDeliveryError is the error about one message that is no delivery. The
// Delivery beside it has what is not decoded. Reading goes on behind it.
type InvalidDeliveryError struct {
	Subject  string
	Sequence uint64 // in the deliveries stream
	Err      error
}

// Error names the message and says what is wrong with it.
func (e *InvalidDeliveryError) Error() string {
	return fmt.Sprintf("message %d on %s is no delivery: %v", e.Sequence, e.Subject, e.Err)
}

// Unwrap returns Err.
func (e *InvalidDeliveryError) Unwrap() error { return e.Err }

// ExpiredError says that deliveries may have expired before they were read: the
// position is older than the deliveries stream keeps messages. Reading goes on
// with the oldest that there is. Who keeps the newest states of a recipient asks
// for SendOnlinePresence then.
type ExpiredError struct {
	After  Position
	MaxAge time.Duration // how long deliveries are kept
}

// Error says since when deliveries may be missing.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("deliveries after %s may be missing: they are kept for %v", e.After.Time.UTC().Format(time.RFC3339), e.MaxAge)
}

// ReadsOn reports whether err, or each error that it joins, is an
// *InvalidDeliveryError or an *ExpiredError, behind which reading goes on.
func ReadsOn(err error) bool {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !ReadsOn(err) })
	}
	return errors.As(err, new(*InvalidDeliveryError)) || errors.As(err, new(*ExpiredError))
}

// received returns the delivery in m, with an *InvalidDeliveryError where there is
// none.
func received(m jetstream.Msg, meta *jetstream.MsgMetadata, created time.Time) (Delivery, error) {
	d := Delivery{
		Data:        m.Data(),
		Subject:     m.Subject(),
		Stored:      meta.Timestamp,
		Position:    Position{Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Created: created},
		Pending:     meta.NumPending,
		IsReplay:    m.Headers().Get(wire.ReplayHeader) != "",
		Traceparent: m.Headers().Get(wire.TraceHeader),
	}
	var err error
	if d.ReceivedDelivery, err = wire.DecodeDelivery(m.Data()); err != nil {
		err = &InvalidDeliveryError{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Err: err}
	}
	return d, err
}
