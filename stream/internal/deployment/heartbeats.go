package deployment

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

// ReadHeartbeats hands each the heartbeats of live workers that the bucket holds,
// and how old each is by the server's clock. What is no heartbeat is passed over.
func ReadHeartbeats(ctx context.Context, js jetstream.JetStream, subjects wire.Subjects, each func(h wire.Heartbeat, age time.Duration)) error {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	stream, err := js.Stream(ctx, subjects.WorkersStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", subjects.WorkersStream(), err)
	}
	bucket, err := js.KeyValue(ctx, subjects.WorkersBucket())
	if err != nil {
		return fmt.Errorf("look up bucket %s: %w", subjects.WorkersBucket(), err)
	}
	heartbeats, err := bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("read bucket %s: %w", subjects.WorkersBucket(), err)
	}
	defer heartbeats.Stop() //nolint:errcheck // It was only read.
	now := stream.CachedInfo().TimeStamp
	for {
		select {
		case entry := <-heartbeats.Updates():
			if entry == nil { // these were all
				return nil
			}
			age := max(0, now.Sub(entry.Created()))
			if h, err := wire.DecodeHeartbeat(entry.Value()); err == nil && age <= h.Lifetime() {
				each(h, age)
			}
		case <-ctx.Done():
			return fmt.Errorf("read bucket %s: %w", subjects.WorkersBucket(), ctx.Err())
		}
	}
}
