package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is time.Sleep, but for the runtime's rounding up to whole milliseconds.
func sleep(d time.Duration) {
	rest := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&rest, nil) // A signal ends it early: whoever sleeps looks at the clock.
}
