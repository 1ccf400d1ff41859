package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// pendingInterval is how often a worker has the server count what its partitions have
// left to do.
const pendingInterval = 5 * time.Second

// countPending counts until ctx ends. What cannot be counted, such as without a
// connection, stays as it was counted last.
func (w *Worker) countPending(ctx context.Context) {
	due := time.NewTicker(pendingInterval)
	defer due.Stop()
	for !wait.Ended(ctx) {
		if err := w.countPartitions(ctx); err != nil {
			w.options.log.Debug("pending updates are not counted", "error", err)
		}
		select {
		case <-due.C:
		case <-ctx.Done():
		}
	}
}

// countPartitions counts one partition after the other, until the first error.
func (w *Worker) countPartitions(ctx context.Context) (err error) {
	info, err := w.updatesInfo(ctx)
	if err != nil {
		return err
	}
	before := w.counted
	if before == nil || !before.Created.Equal(info.Created) || before.State.LastSeq > info.State.LastSeq {
		w.losses.forget() // It is another stream, or not everything was counted.
	}
	defer w.losses.next()
	w.counted = nil
	for p, f := range w.progress.followed() {
		reached := p.Position()
		left, err := jsapi.ReadBacklog(ctx, w.nc, info.Config.Name, reached.Undone(p.ID().Updates(w.subjects), info.Created))
		if err != nil {
			return err
		}
		f.pending.Store(&left.Messages)
		if err := w.lossesOf(ctx, p, f.reader.Consumer(), info, before); err != nil {
			return err
		}
	}
	w.counted, err = w.updatesInfo(ctx)
	return err
}

func (w *Worker) updatesInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	updates, err := w.js.Stream(ctx, w.subjects.UpdatesStream())
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", w.subjects.UpdatesStream(), err)
	}
	return updates.CachedInfo(), nil
}

// observePending tells what is pending of the partitions that this worker has.
func (w *Worker) observePending(_ context.Context, o metric.Int64Observer) error {
	for p, f := range w.progress.followed() {
		if n := f.pending.Load(); n != nil {
			o.Observe(int64(*n), metric.WithAttributes(attribute.Int("partition", p.ID().Number))) //nolint:gosec // A count of stored messages stays far below 2^63.
		}
	}
	return nil
}
