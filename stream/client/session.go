package client

import (
	"context"
	"errors"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
)

var (
	errStopped     = errors.New("nothing more is wanted")
	errReconnected = errors.New("the connection was made anew")
)

// untilLast runs session again and again, with growing pauses while there is no
// progress, and returns errStopped or the first error that another session does
// not mend. A session ends with the connection that it began on: the server that
// it is made to may not know the consumer, and would not say so.
func (c *Client) untilLast(ctx context.Context, session func(context.Context) (progress bool, err error)) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause),
		backoff.WithMaxInterval(longestPause), backoff.WithMaxElapsedTime(0))
	for {
		connected, release := c.whileConnected(ctx)
		progress, err := session(connected)
		release()
		switch {
		case errors.Is(err, errStopped):
			return errStopped
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isFinal(err):
			return err
		case progress:
			retry.Reset()
		}
		if err := pause(ctx, retry.NextBackOff()); err != nil {
			return err
		}
	}
}

// whileConnected returns a context that ends when the client has connected again,
// and what releases it.
func (c *Client) whileConnected(ctx context.Context) (connected context.Context, release func()) {
	connected, end := context.WithCancelCause(ctx)
	again := c.nc.StatusChanged(nats.CONNECTED)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-again:
			end(errReconnected)
		case <-connected.Done():
		}
	})
	return connected, func() {
		end(nil)
		watch.Wait()
		c.nc.RemoveStatusListener(again)
	}
}
