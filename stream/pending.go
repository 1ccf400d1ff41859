package stream

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// pendingInterval is how often a worker has the server count what its partitions have
// left to do.
const pendingInterval = 5 * time.Second

// countPending counts until ctx ends. What cannot be counted, such as without a
// connection, stays as it was counted last.
func (w *Worker) countPending(ctx context.Context) {
	due := time.NewTicker(pendingInterval)
	defer due.Stop()
	for !ended(ctx) {
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
func (w *Worker) countPartitions(ctx context.Context) error {
	updates, err := w.js.Stream(ctx, w.subjects.UpdatesStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", w.subjects.UpdatesStream(), err)
	}
	info := updates.CachedInfo()
	for _, p := range w.progress.followed() {
		reached := p.inHand.reached.Load()
		left, err := readBacklog(ctx, w.nc, info.Config.Name, reached.behind(p.id.updates(w.subjects), info.Created))
		if err != nil {
			return err
		}
		p.inHand.pending.Store(&left.updates)
	}
	return nil
}

// observePending tells what is pending of the partitions that this worker has.
func (w *Worker) observePending(_ context.Context, o metric.Int64Observer) error {
	for _, p := range w.progress.followed() {
		if n := p.inHand.pending.Load(); n != nil {
			o.Observe(int64(*n), metric.WithAttributes(attribute.Int("partition", p.id.number))) //nolint:gosec // A count of stored messages stays far below 2^63.
		}
	}
	return nil
}
