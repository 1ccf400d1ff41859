package commit_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/presence-router/presence-router/stream/internal/commit"
)

// A partition may be another worker's once every unit of it is committed, and no sooner.
func TestDrainWaitsForEveryUnit(t *testing.T) {
	t.Parallel()
	for staged := range 3 {
		t.Run(fmt.Sprintf("%d staged", staged), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { drainWith(t, staged) })
		})
	}
}

func drainWith(t *testing.T, staged int) {
	t.Helper()
	d, err := commit.NewDraining(t.Context(), staged)
	if err != nil {
		t.Fatal(err)
	}
	var drained bool
	go func() {
		if err := d.Drain(t.Context()); err != nil {
			t.Errorf("Drain = %v, want nil", err)
		}
		drained = true
	}()
	for left := staged + 1; left > 0; left-- { // The last one says only that it is.
		synctest.Wait()
		if drained {
			t.Fatalf("drained with %d of %d units left", left, staged+1)
		}
		d.Commit()
	}
	synctest.Wait()
	if !drained {
		t.Error("not drained though every unit is committed")
	}
}

// Once a partition is lost, an ingester sends no unit that was staged before: one that
// was to be committed first may be missing.
func TestUnitsOfALostPartitionAreDropped(t *testing.T) {
	t.Parallel()
	d, err := commit.NewDraining(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if partitions, units := d.Lose(t.Context()); partitions != 0 || units != 0 {
		t.Errorf("%d partitions with %d units are to be committed, want none", partitions, units)
	}
}

// The position that is committed with a unit is not an older one that is renewed.
func TestRenewedPositionDoesNotGoBack(t *testing.T) {
	t.Parallel()
	if got := commit.Renew(2); got != 2 {
		t.Errorf("position %d is committed, want 2", got)
	}
}
