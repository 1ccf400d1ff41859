package stream

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// topologyInterval is how often a worker compares the streams with its
// configuration.
const topologyInterval = 10 * time.Second

// topologyWatch compares the streams with the configuration of a worker, which goes
// on with what there is.
type topologyWatch struct {
	topology  *topology.Streams
	log       *slog.Logger
	telemetry *telemetry
	known     atomic.Pointer[[]wire.StreamDifference] // found last; nil before
}

// run looks until ctx ends.
func (w *topologyWatch) run(ctx context.Context) {
	due := time.NewTicker(topologyInterval)
	defer due.Stop()
	for {
		select {
		case <-due.C:
			w.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look compares once, and logs what has changed since the last time. While the
// streams cannot be looked up, what is known stays.
func (w *topologyWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	changes, err := w.topology.Different(ctx)
	if err != nil {
		w.log.Debug("streams are not compared with the configuration", "error", err)
		return
	}
	before, now := w.differences(), differences(changes)
	w.known.Store(&now)
	w.telemetry.streamsOtherwise(ctx, len(changes))
	for _, d := range now {
		if !slices.ContainsFunc(before, d.Equal) {
			w.log.Warn("streams are not as configured, going on with what there is: correct the configuration, or run topology apply",
				"setting", d.Setting, "have", d.Have, "configured", d.Configured, "streams", d.Streams)
		}
	}
	if len(before) > 0 && len(now) == 0 {
		w.log.Info("streams are as configured")
	}
}

// differences returns what was found last.
func (w *topologyWatch) differences() []wire.StreamDifference {
	if known := w.known.Load(); known != nil {
		return *known
	}
	return nil
}

// differences returns the changes with those together that differ in the stream
// alone.
func differences(changes []topology.Change) []wire.StreamDifference {
	var all []wire.StreamDifference
	for _, c := range changes {
		one := wire.StreamDifference{Setting: c.Setting, Have: c.Have, Configured: c.Want}
		at := slices.IndexFunc(all, one.Alike)
		if at < 0 {
			at, all = len(all), append(all, one)
		}
		all[at].Streams = append(all[at].Streams, c.Stream)
	}
	return all
}
