package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/<pid>/stat.
const tick = 10 * time.Millisecond

// usageOf returns what the process has used so far.
func usageOf(pid int) (usage, error) {
	cpu, err := cpuOf(pid)
	if err != nil {
		return usage{}, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return usage{cpu: cpu, resident: memory(status, "VmRSS:"), peak: memory(status, "VmHWM:")}, nil
}

// cpuOf returns the time in user and kernel mode, fields 14 and 15 of the file.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // The first two stand before.
	if len(fields) < 13 {
		return 0, fmt.Errorf("%q has too few fields", stat)
	}
	user, userErr := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	if userErr != nil || systemErr != nil {
		return 0, fmt.Errorf("%q holds no times", stat)
	}
	return time.Duration(user+system) * tick, nil
}

// memory returns the bytes that a line of /proc/<pid>/status tells in kB.
func memory(status []byte, name string) int64 {
	_, after, _ := strings.Cut(string(status), "\n"+name)
	line, _, _ := strings.Cut(after, " kB")
	kilobytes, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64) // 0 of a process that is gone
	return kilobytes << 10
}

// processor returns the name of the CPU, "" where it has none.
func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo") // Without it there is no name.
	_, after, _ := strings.Cut(string(info), "model name")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(strings.TrimLeft(line, "\t :"))
}
