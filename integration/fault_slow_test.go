package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// slowRounds is how often a ratio may be measured until one is in order: what else
// the machine does is in all of them, and only a pipeline that is slow itself misses
// every time.
const slowRounds = 10

// recorded is a ratio to R that the pipeline has on a quiet machine.
type recorded struct {
	Storage    string  `json:"storage"`
	Recipients int     `json:"recipients"`
	OfR        float64 `json:"of_r"`
}

// TestFaultSlowPipeline measures the pipeline in proportion to what the server can do
// and finds one that has become half as fast, or slower.
func TestFaultSlowPipeline(t *testing.T) {
	data, err := os.ReadFile("testdata/ratios.json")
	if err != nil {
		t.Fatal(err)
	}
	var ratios []recorded
	if err := json.Unmarshal(data, &ratios); err != nil {
		t.Fatal(err)
	}
	for _, r := range ratios {
		t.Run(fmt.Sprintf("%s/recipients=%d", r.Storage, r.Recipients), func(t *testing.T) {
			best := 0.0
			for round := 0; round < slowRounds && best < r.OfR/2; round++ {
				best = max(best, r.measure(t))
			}
			if best < r.OfR/2 {
				t.Errorf("%.2f of R at best in %d rounds, want at least half of %.2f, as is recorded", best, slowRounds, r.OfR)
			}
		})
	}
}

// measure returns the ratio of one short round, 0 where the machine is too busy for
// one.
func (r recorded) measure(t *testing.T) float64 {
	t.Helper()
	command := exec.CommandContext(t.Context(), binaries.worker, "bench", "--json", "--rounds", "1", "--duration", "700ms", //nolint:gosec // The binary is our own.
		"--storage", r.Storage, "--recipients", strconv.Itoa(r.Recipients), "--fan-in", "0", "--users", "2000", "--raw=false", "--latency=false")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Logf("router-worker bench: %v", err)
		return 0
	}
	var report struct {
		Tables []struct {
			Rows []struct {
				Name   string
				Median struct {
					OfR float64 `json:"of_r"`
				}
			}
		}
	}
	if err := json.Unmarshal(output, &report); err != nil {
		t.Fatalf("decode %q: %v", output, err)
	}
	for _, row := range report.Tables[0].Rows {
		if row.Name == fmt.Sprintf("k = %d", r.Recipients) {
			t.Logf("%.2f of R", row.Median.OfR)
			return row.Median.OfR
		}
	}
	t.Fatalf("no row of %d recipients in %s", r.Recipients, output)
	return 0
}
