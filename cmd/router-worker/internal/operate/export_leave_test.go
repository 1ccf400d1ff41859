package operate //nolint:testpackage // Exports the end of a worker: the modules of the program never hang.

import (
	"context"
	"log/slog"

	"github.com/presence-router/presence-router/routing"
)

// LeaveBehind is what a worker does with its routers at the end.
func LeaveBehind(ctx context.Context, dispatcher *routing.Dispatcher, log *slog.Logger) {
	leaveBehind(ctx, dispatcher, log)
}
