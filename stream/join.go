package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	waiting := newStall(w.options.log, "reading who else is there")
	if err := w.persist(ctx, w.config.Worker.StartTimeout, waiting, 0, o.readMembers); err != nil {
		leave()
		return nil, nil, err
	}
	return o, leave, nil
}

// readMembers reads the heartbeats that the bucket holds. How old each is, is told
// by the server's clock alone.
func (o *ownership) readMembers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := o.worker.js.Stream(ctx, o.worker.subjects.WorkersStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", o.worker.subjects.WorkersStream(), err)
	}
	bucket, err := o.worker.js.KeyValue(ctx, o.worker.subjects.WorkersBucket())
	if err != nil {
		return fmt.Errorf("look up bucket %s: %w", o.worker.subjects.WorkersBucket(), err)
	}
	heartbeats, err := bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", o.worker.subjects.WorkersBucket(), err)
	}
	defer heartbeats.Stop() //nolint:errcheck // It was only read.
	now, onServer := time.Now(), stream.CachedInfo().TimeStamp
	for {
		select {
		case entry := <-heartbeats.Updates():
			if entry == nil { // these were all
				return nil
			}
			o.remember(entry, now.Add(-max(0, onServer.Sub(entry.Created()))))
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", o.worker.subjects.WorkersBucket(), ctx.Err())
		}
	}
}

func (o *ownership) remember(entry jetstream.KeyValueEntry, heard time.Time) {
	h, err := wire.DecodeHeartbeat(entry.Value())
	if err == nil && h.Worker != o.members.self {
		o.members.note(h, heard)
	}
}
