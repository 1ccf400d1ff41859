package stream

import (
	"context"
	"log/slog"
	"time"

	"github.com/presence-router/presence-router/stream/internal/wait"

	"github.com/presence-router/presence-router/stream/wire"
)

// layoutWatch looks again and again which layout is to be served.
type layoutWatch struct {
	layouts layouts
	every   time.Duration
	log     *slog.Logger
	poked   chan struct{}    // one place
	newest  chan wire.Layout // the one found last; one place
}

func newLayoutWatch(l layouts, every time.Duration, log *slog.Logger) *layoutWatch {
	return &layoutWatch{layouts: l, every: every, log: log, poked: make(chan struct{}, 1), newest: make(chan wire.Layout, 1)}
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
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return w.layouts.serving(ctx)
}
