package updates

import (
	"context"
	"time"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
)

// overlookInterval is how often a reader compares what has arrived with what is
// stored, where nothing arrives.
const overlookInterval = 5 * time.Second

// overlooked returns once updates of the partition are stored that do not arrive,
// with errOverlooked, or ctx ends, with its cause. A consumer that is placed on a
// server whose copy of the stream comes and goes, as while the number of replicas
// changes, may have its heartbeats and yet never hear of what is stored.
func (r *Reader) overlooked(ctx context.Context) error {
	due := time.NewTicker(overlookInterval)
	defer due.Stop()
	for suspect := uint64(0); ; {
		select {
		case <-due.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		newest := r.newest.Load()
		switch {
		case !r.lacks(ctx, newest):
			suspect = 0
		case suspect == newest+1: // as it was the last time
			return errOverlooked
		default:
			suspect = newest + 1
		}
	}
}

// lacks reports whether updates are stored behind the newest one that arrived, and
// there is room for them.
func (r *Reader) lacks(ctx context.Context, newest uint64) bool {
	if r.full.Load() {
		return false
	}
	updates := jsapi.Leader{NC: r.nc, Stream: r.Subjects.UpdatesStream()}
	last, err := updates.Get(ctx, jsapi.MessageRequest{LastSubject: r.Partition.Updates(r.Subjects)})
	return err == nil && last.Sequence > newest
}
