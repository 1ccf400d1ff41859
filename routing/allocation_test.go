package routing_test

import (
	"context"
	"testing"

	"github.com/presence-router/presence-router/routing"
)

// TestAllocations holds the Dispatcher to its budget for a batch of updates: what a
// router answers aside, it does not grow with the number of updates.
func TestAllocations(t *testing.T) {
	states := benchStates()
	for _, tt := range []struct {
		name   string
		router routing.Router
		want   float64 // for the batch
	}{
		{"one recipient each", newSmallTable(1), 1.25 * benchBatch},
		{"ten recipients each", newSmallTable(10), 11 * benchBatch},
		{"ten recipients who receive everything", newFanIn(10, unaltered), 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcher(t, tt.router)
			got := testing.AllocsPerRun(20, func() { d.UsersForStates(context.Background(), states) })
			if got > tt.want && !raceDetector {
				t.Errorf("%.0f allocations for a batch of %d updates, at most %.0f are in order", got, len(states), tt.want)
			}
		})
	}
}

// newSmallTable returns a router that knows the users of benchStates only.
func newSmallTable(recipients int) routing.Router {
	table := make(tableRouter, benchBatch)
	for i, s := range benchStates() {
		for k := range recipients {
			table[s.UserID] = append(table[s.UserID], benchRecipient(i*recipients+k))
		}
	}
	return table
}
