package bench

import "time"

// ParseCPUTime is parseCPUTime.
func ParseCPUTime(text string) (time.Duration, error) { return parseCPUTime(text) }

// Median is median.
func Median(rounds []Figures) Figures { return median(rounds) }

// Latencies is latencies.
func Latencies(of []time.Duration) Figures { return latencies(of) }
