package membership

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// moveBound is after how many times worker.ttl a move that has not ended is told.
// Moves that have no backlog to wait for take a second.
const moveBound = 10

// layoutWatch looks again and again which layout is to be served, and whether a move
// holds updates up.
type layoutWatch struct {
	layouts deployment.Layouts
	every   time.Duration
	bound   time.Duration // on a move
	moving  *wait.Stall
	log     *slog.Logger
	poked   chan struct{}    // one place
	newest  chan wire.Layout // the one found last; one place

	told time.Time // when it was logged last that the layout record is none; of the goroutine in run, once that runs
}

func newLayoutWatch(c Config) *layoutWatch {
	return &layoutWatch{
		layouts: c.Layouts, every: c.TTL / beatsPerTTL, bound: moveBound * c.TTL, log: c.Log,
		moving: wait.NewStall(c.Log, "changing the number of partitions"),
		poked:  make(chan struct{}, 1), newest: make(chan wire.Layout, 1),
	}
}

// settlePause is how long after a hint the server is asked: who hears of a record
// hears it before it is stored.
const settlePause = 20 * time.Millisecond

// poke has it look soon.
func (w *layoutWatch) poke() {
	select {
	case w.poked <- struct{}{}:
	default:
	}
}

// run looks until ctx ends. That a look did not work out is of no concern as long
// as the next one does: heartbeats go the same way, and what becomes of them is
// logged.
func (w *layoutWatch) run(ctx context.Context) {
	due := time.NewTicker(w.every)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.poked:
			wait.Pause(ctx, settlePause)
		case <-due.C:
		}
		layout, err := w.look(ctx)
		if err != nil {
			w.log.Debug("layout is not known anew", "error", err)
			continue
		}
		replace(w.newest, layout)
	}
}

func (w *layoutWatch) look(ctx context.Context) (wire.Layout, error) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	d, err := w.layouts.Divided(ctx)
	if err != nil {
		return wire.Layout{}, err
	}
	if err := w.mend(ctx, d); err != nil {
		return wire.Layout{}, err
	}
	if err := w.tell(ctx, d); err != nil {
		w.log.Debug("what waits for the change of partitions is not known", "error", err)
	}
	return d.Serving(), nil
}

// mend replaces what stands in place of the layout record and is none, or returns an
// error if it is not known what the record said. It logs that, not more often than
// reminders are.
func (w *layoutWatch) mend(ctx context.Context, d deployment.Division) error {
	unknown := d.Known()
	if d.Unsound() == nil {
		return nil
	}
	if time.Since(w.told) > wait.Reminder {
		w.told = time.Now()
		w.log.Warn("no worker wrote what stands in place of the layout record", "reason", d.Unsound(), "remedy", remedyOf(unknown))
	}
	if unknown != nil {
		return unknown
	}
	err := w.layouts.Store(ctx, wire.LayoutRecord{Serving: d.Stored}, d.Record.Revision)
	if err != nil { // Another worker may have been faster; the next look tells.
		w.log.Debug("the layout record is not written again", "error", err)
	}
	return nil
}

func remedyOf(unknown error) string {
	if unknown == nil {
		return "it is written again, from the streams"
	}
	return "run router-worker topology repair; until then workers serve what they served"
}

// tell notes whether a move holds updates up for too long.
func (w *layoutWatch) tell(ctx context.Context, d deployment.Division) error {
	tooLong := func(since time.Time) bool { return d.Updates.TimeStamp.Sub(since) >= w.bound } // both by the server's clock
	var left jsapi.Backlog
	if d.Waits() && tooLong(d.Record.Written) {
		var err error
		if left, err = w.layouts.Held(ctx, d); err != nil {
			return err
		}
	}
	if left.Messages == 0 || !tooLong(left.Oldest) {
		w.moving.Ended()
		return nil
	}
	w.moving.Failed(fmt.Errorf("%s, and %s for it, the oldest since %s, for as long as streams.updates.max_age; %s",
		d.Describe(), plural.Of(left.Messages, "update waits", "updates wait"), left.Oldest.Format(time.RFC3339), deployment.Remedy(d.Move().To.Partitions)))
	return nil
}
