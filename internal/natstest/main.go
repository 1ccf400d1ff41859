package natstest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	leakTimeout = time.Minute // what stops on its own may take that long
	leakPoll    = 20 * time.Millisecond
)

// Main runs the tests of a package and returns the exit code for its TestMain. A
// goroutine that is left over when all tests have passed fails the run: its stack
// goes to stderr.
func Main(m *testing.M) int {
	if code := m.Run(); code != 0 {
		return code
	}
	left := Leaked(leakTimeout)
	for _, stack := range left {
		fmt.Fprintf(os.Stderr, "leaked %s\n\n", stack)
	}
	return min(len(left), 1)
}

// Leaked returns the stacks of the goroutines that run code of this module or of
// one it imports, the caller's aside. It waits for them to end, at most for
// timeout.
func Leaked(timeout time.Duration) []string {
	bound := time.NewTimer(timeout)
	defer bound.Stop()
	poll := time.NewTicker(leakPoll)
	defer poll.Stop()
	for {
		left := otherGoroutines()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-bound.C:
			return left
		case <-poll.C:
		}
	}
}

// otherGoroutines leaves out the first goroutine, which is the caller's, and those
// of the standard library alone, whose import paths have no dotted first element.
func otherGoroutines() []string {
	var others []string
	for _, stack := range strings.Split(allStacks(), "\n\n")[1:] {
		if lingers(stack) {
			continue
		}
		if strings.Contains(stack, "github.com/") || strings.Contains(stack, "go.opentelemetry.io/") {
			others = append(others, stack)
		}
	}
	return others
}

// lingers reports whether a goroutine is one that nats-server 2.15 itself leaves
// behind, now and then, when it is shut down in the middle of something: the setup
// of a stream's source ends half a minute later; the flushers of a store, and the clock
// that stores share, never.
func lingers(stack string) bool {
	return slices.ContainsFunc([]string{
		"server.(*stream).trySetupSourceConsumer",
		"server.(*msgBlock).flushLoop",
		"server.(*fileStore).flushStreamStateLoop",
		"server/ats.Register",
	}, func(at string) bool { return strings.Contains(stack, at) })
}

func allStacks() string {
	for size := 1 << 20; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return string(buf[:n])
		}
	}
}
