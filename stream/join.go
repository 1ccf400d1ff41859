package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// maxHeard bounds the heartbeats that wait to be heard. More than that are dropped,
// and come again.
const maxHeard = 1024

// join hears from now on what the other workers say, and finds out what they said
// last.
func (w *Worker) join(ctx context.Context) (*ownership, func(), error) {
	o := w.newOwnership()
	hearing, err := w.nc.ChanSubscribe(w.subjects.Heartbeats(), o.heard)
	if err != nil {
		return nil, nil, fmt.Errorf("subscribe to %s: %w", w.subjects.Heartbeats(), err)
	}
	leave := func() { _ = hearing.Unsubscribe() } // The connection may be closed by then.
	waiting := wait.NewStall(w.options.log, "reading who else is there")
	err = w.persist(ctx, w.config.Worker.StartTimeout, waiting, 0, func(ctx context.Context) error {
		return errors.Join(o.begins(ctx), o.readMembers(ctx))
	})
	if err != nil {
		leave()
		return nil, nil, err
	}
	o.tellLayout()
	return o, leave, nil
}

// readMembers reads the heartbeats that the bucket holds. How old each is, is told
// by the server's clock alone. A worker that is there under this one's ID is
// replaced, whatever the clock of its machine says.
func (o *ownership) readMembers(ctx context.Context) error {
	now := time.Now()
	return deployment.ReadHeartbeats(ctx, o.worker.js, o.worker.subjects, func(h wire.Heartbeat, age time.Duration) {
		switch {
		case h.Worker != o.members.self:
			o.members.note(h, now.Add(-age))
		case h.Replaces(o.beat):
			o.beat.Started = h.Started.Add(time.Nanosecond)
		}
	})
}
