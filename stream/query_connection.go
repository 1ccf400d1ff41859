package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/wait"
)

// connectForQueries makes a connection like that of w, for queries alone. A server
// cuts the connection of a client that does not keep up with what it is sent, and
// requests are as many and as large as others like: that is not to hit the one
// which routes.
func (w *Worker) connectForQueries(ctx context.Context) (nc *nats.Conn, err error) {
	options := w.nc.Opts
	options.Name += " queries"
	waiting := wait.NewStall(w.options.log, "connecting to NATS for queries")
	err = w.persist(ctx, w.config.Worker.StartTimeout, waiting, 0, func(context.Context) error {
		nc, err = options.Connect()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect for queries: %w", err)
	}
	return nc, nil
}
