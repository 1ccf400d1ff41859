package integration_test

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// effort says how much a fault test does: little in go test, and everything where
// FAULT_DURATION gives the time for all of them.
type effort struct {
	seed   uint64
	budget time.Duration // 0 for the short form
}

// newEffort reads FAULT_SEED and FAULT_DURATION, and has the test say them.
func newEffort(t *testing.T) effort {
	t.Helper()
	e := effort{seed: 1}
	var err error
	if text := os.Getenv("FAULT_SEED"); text != "" {
		if e.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("FAULT_SEED: %v", err)
		}
	}
	if text := os.Getenv("FAULT_DURATION"); text != "" {
		if e.budget, err = time.ParseDuration(text); err != nil {
			t.Fatalf("FAULT_DURATION: %v", err)
		}
	}
	t.Logf("FAULT_SEED=%d FAULT_DURATION=%v", e.seed, e.budget)
	return e
}

// full reports whether the test is to do everything.
func (e effort) full() bool { return e.budget > 0 }

// count returns one of two numbers.
func (e effort) count(short, full int) int {
	if e.full() {
		return full
	}
	return short
}

// window returns how long the faults of a test go on: short, or its share of the
// budget where that is more.
func (e effort) window(short time.Duration, percent int) time.Duration {
	return max(short, e.budget*time.Duration(percent)/100)
}

// numbers returns the random numbers of a test, the same for the same seed.
func (e effort) numbers(t *testing.T) *rand.Rand {
	t.Helper()
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(e.seed, name.Sum64())) //nolint:gosec // Failures are to come back with the seed.
}
