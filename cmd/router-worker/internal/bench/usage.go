package bench

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// usage is what processes have used.
type usage struct {
	cpu      time.Duration
	resident int64 // bytes of memory now
	peak     int64 // most bytes of memory up to now, 0 where unknown
}

func (u usage) plus(other usage) usage {
	return usage{cpu: u.cpu + other.cpu, resident: max(u.resident, other.resident), peak: max(u.peak, other.peak)}
}

// since returns the seconds of CPU time that were used after before.
func (u usage) since(before usage) float64 { return (u.cpu - before.cpu).Seconds() }

// usageOfAll adds up the CPU time of children, and takes the largest memory.
func usageOfAll(children []*child) (usage, error) {
	var total usage
	for _, c := range children {
		if c.hasExited() {
			total = total.plus(usage{cpu: c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()})
			continue
		}
		used, err := usageOf(c.cmd.Process.Pid)
		if err != nil {
			return usage{}, err
		}
		total = total.plus(used)
	}
	return total, nil
}

// parseCPUTime parses a time as ps writes it: minutes and seconds, with hours and
// days before them where there are any.
func parseCPUTime(text string) (time.Duration, error) {
	days, clock, found := strings.Cut(text, "-")
	if !found {
		days, clock = "0", text
	}
	total, err := strconv.ParseFloat(days, 64)
	if err != nil {
		return 0, fmt.Errorf("parse CPU time %q: %w", text, err)
	}
	total *= 24
	parts := strings.Split(clock, ":")
	if len(parts) == 2 {
		parts = append([]string{"0"}, parts...)
	}
	for i, part := range parts {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return 0, fmt.Errorf("parse CPU time %q: %w", text, err)
		}
		if i > 0 {
			total *= 60
		}
		total += n
	}
	return time.Duration(total * float64(time.Second)), nil
}
