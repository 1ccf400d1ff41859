package query

import (
	"context"

	"github.com/nats-io/nats.go"
)

// queryConnections are the connections of the query service, apart from the one that
// routes. A server cuts the connection of a client that does not keep up with what it
// is sent, and requests are as many and as large as others like.
type queryConnections struct {
	answers *nats.Conn // takes requests and sends answers; needs no other permissions
	states  *nats.Conn // reads states and stores replays, with the permissions of the worker
}

// connections makes the connections of the service.
func (w *Service) connections(ctx context.Context) (c queryConnections, err error) {
	if c.answers, err = w.Connect(ctx, "queries", w.Changes...); err != nil {
		return c, err
	}
	if c.states, err = w.Connect(ctx, "states"); err != nil {
		c.answers.Close()
	}
	return c, err
}

func (c queryConnections) close() {
	c.answers.Close()
	c.states.Close()
}
