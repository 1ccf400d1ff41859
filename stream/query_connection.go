package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// queryConnections are the connections of the query service, apart from the one that
// routes. A server cuts the connection of a client that does not keep up with what it
// is sent, and requests are as many and as large as others like.
type queryConnections struct {
	answers *nats.Conn // takes requests and sends answers; needs no other permissions
	states  *nats.Conn // reads states and stores replays, with the permissions of the worker
}

// connectForQueries makes connections like that of w.
func (w *Worker) connectForQueries(ctx context.Context) (c queryConnections, err error) {
	if c.answers, err = w.connectAgain(ctx, "queries", w.options.answering...); err != nil {
		return c, err
	}
	if c.states, err = w.connectAgain(ctx, "states"); err != nil {
		c.answers.Close()
	}
	return c, err
}

// connectAgain makes another connection like that of w, but for changes.
func (w *Worker) connectAgain(ctx context.Context, what string, changes ...nats.Option) (nc *nats.Conn, err error) {
	options := w.nc.Opts
	options.Name += " " + what
	for _, change := range changes {
		err = errors.Join(err, change(&options))
	}
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", what, err)
	}
	waiting := wait.NewStall(w.options.log, "connecting to NATS for "+what)
	err = w.persist(ctx, w.config.Worker.StartTimeout, waiting, 0, func(context.Context) error {
		nc, err = options.Connect()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", what, err)
	}
	return nc, nil
}

func (c queryConnections) close() {
	c.answers.Close()
	c.states.Close()
}
