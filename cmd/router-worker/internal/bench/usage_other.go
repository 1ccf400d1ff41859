//go:build !linux

package bench

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// usageOf returns what the process has used so far, as ps tells it.
func usageOf(pid int) (usage, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, "ps", "-o", "time=,rss=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec // A number.
	if err != nil {
		return usage{}, fmt.Errorf("ask ps about process %d: %w", pid, err)
	}
	fields := strings.Fields(string(output))
	if len(fields) != 2 {
		return usage{}, fmt.Errorf("ask ps about process %d: it says %q", pid, output)
	}
	cpu, err := parseCPUTime(fields[0])
	if err != nil {
		return usage{}, err
	}
	kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return usage{}, fmt.Errorf("ask ps about process %d: %w", pid, err)
	}
	return usage{cpu: cpu, resident: kilobytes << 10}, nil
}

func processor() string { return "" }
