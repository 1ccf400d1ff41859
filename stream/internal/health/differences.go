package health

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

// differences compares the streams with the configuration of a worker, which goes
// on with what there is.
type differences struct {
	topology  *topology.Streams
	log       *slog.Logger
	telemetry *telemetry
	known     atomic.Pointer[[]wire.StreamDifference] // found last; nil before
}

// run looks until ctx ends.
func (d *differences) run(ctx context.Context) {
	due := time.NewTicker(topologyInterval)
	defer due.Stop()
	for {
		select {
		case <-due.C:
			d.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look compares once, and logs what has changed since the last time. While the
// streams cannot be looked up, what is known stays.
func (d *differences) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	changes, err := d.topology.Different(ctx)
	if err != nil {
		d.log.Debug("streams are not compared with the configuration", "error", err)
		return
	}
	before, now := d.found(), joined(changes)
	d.known.Store(&now)
	d.telemetry.streamsOtherwise(ctx, len(changes))
	for _, one := range now {
		if !slices.ContainsFunc(before, one.Equal) {
			d.log.Warn("streams are not as configured, going on with what there is: correct the configuration, or run topology apply",
				"setting", one.Setting, "have", one.Have, "configured", one.Configured, "streams", one.Streams)
		}
	}
	if len(before) > 0 && len(now) == 0 {
		d.log.Info("streams are as configured")
	}
}

// found returns what was found last.
func (d *differences) found() []wire.StreamDifference {
	if known := d.known.Load(); known != nil {
		return *known
	}
	return nil
}

// joined returns the changes with those together that differ in the stream
// alone.
func joined(changes []topology.Change) []wire.StreamDifference {
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
