package stream

import (
	"context"
	"time"

	"github.com/presence-router/presence-router/stream/wire"
)

// begins takes the layout up that the deployment has when this worker begins.
func (o *ownership) begins(ctx context.Context) error {
	layout, err := o.watch.look(ctx)
	if err != nil {
		return err
	}
	o.serve(layout)
	return nil
}

// tellLayout logs where the deployment is not as configured.
func (o *ownership) tellLayout() {
	if configured := o.worker.config.Streams.Partitions; o.layout.Partitions != configured {
		o.worker.options.log.Warn("the deployment has another number of partitions than streams.partitions, and keeps it: change it with router-worker topology repartition",
			"have", o.layout.Partitions, "configured", configured)
	}
}

// serve has the next tenures be of layout.
func (o *ownership) serve(layout wire.Layout) {
	o.layout, o.wanted = layout, layout
	o.members.generation, o.members.since = layout.Generation, time.Now()
	o.worker.layout.Store(&layout)
	clear(o.waits)
	clear(o.rests)
	o.changes = newChanges()
}

// change goes over to the layout that is wanted, once every partition of the one
// before is given up, and reports whether it has.
func (o *ownership) change() bool {
	for _, t := range o.tenures {
		t.release()
	}
	if len(o.tenures) > 0 {
		return false
	}
	o.worker.options.log.Info("the partitions are others now", "before", o.layout.String(), "now", o.wanted.String())
	o.serve(o.wanted)
	return true
}
