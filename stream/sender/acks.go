package sender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// What a consumer is told about a message (NATS ADR-13).
var (
	ackDone  = []byte("+ACK") //nolint:gochecknoglobals // Never written to.
	ackAgain = []byte("-NAK") //nolint:gochecknoglobals // As above.
	ackWait  = []byte("+WPI") //nolint:gochecknoglobals // As above.
)

const (
	confirmTimeout = time.Second
	maxUnconfirmed = 2 // tries, before the last, on a connection that works
)

var errReconnected = errors.New("the connection was lost meanwhile")

// acknowledger tells the server which deliveries are done, until it has confirmed
// that: one that it does not know about would come again, after newer ones were sent.
type acknowledger struct {
	nc      *nats.Conn
	outbox  *outbox
	stall   *wait.Stall
	pending []ack // taken from the outbox and not confirmed; of whoever flushes
}

// run acknowledges until ctx ends.
func (a *acknowledger) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.flush(ctx)
		a.outbox.acks.await(ctx, -1)
	}
}

// flush acknowledges what is done, and tries again until ctx ends. What the server
// does not confirm though it can be reached, it does not have any more.
func (a *acknowledger) flush(ctx context.Context) {
	retry := wait.NewBackOff()
	for unconfirmed := 0; ctx.Err() == nil; {
		a.pending = a.outbox.takeDone(a.pending)
		if len(a.pending) == 0 {
			return
		}
		err := a.send(ctx)
		if err == nil || unconfirmed >= maxUnconfirmed {
			a.stall.Ended()
			a.outbox.forget(a.pending)
			a.pending = nil
			return
		}
		if ctx.Err() == nil {
			a.stall.Failed(err)
			wait.Pause(ctx, retry.NextBackOff())
		}
		if a.nc.IsConnected() {
			unconfirmed++
		}
	}
}

// send acknowledges what is pending. It asks for the confirmation of the last one only:
// on one connection the server handles them in order.
func (a *acknowledger) send(ctx context.Context) error {
	reconnects := a.nc.Stats().Reconnects
	last := len(a.pending) - 1
	for _, each := range a.pending[:last] {
		if err := a.nc.Publish(each.reply, ackDone); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	if _, err := a.nc.RequestWithContext(ctx, a.pending[last].reply, ackDone); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	if a.nc.Stats().Reconnects != reconnects {
		return fmt.Errorf("acknowledge: %w", errReconnected)
	}
	return nil
}

// keep tells the server that what is held is still being worked on.
func (a *acknowledger) keep() { a.tell(ackWait) }

// giveBack has the server deliver what is held to the next sender at once.
func (a *acknowledger) giveBack() {
	a.tell(ackAgain)
	_ = a.nc.FlushTimeout(confirmTimeout) // What is not told comes again after the wait for its acknowledgement.
}

func (a *acknowledger) tell(what []byte) {
	for _, reply := range a.outbox.replies() {
		if a.nc.Publish(reply, what) != nil {
			return // The connection is gone, and with it what would be told.
		}
	}
}
