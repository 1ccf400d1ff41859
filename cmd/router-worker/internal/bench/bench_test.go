package bench_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/bench"
	"github.com/presence-router/presence-router/stream/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got, unlike %s:\n%s", path, got)
	}
}

func machine() bench.Machine {
	return bench.Machine{Processor: "Some CPU", Cores: 2, Platform: "linux/amd64", Go: "go1.26.8", Server: "2.15.2", Embedded: true}
}

func TestReportText(t *testing.T) {
	t.Parallel()
	one := bench.Case{Program: "router-worker", Workers: 1, Recipients: 1, Users: 10_000, Partitions: 16}
	fanIn := one
	fanIn.Recipients, fanIn.FanIn, fanIn.Workers = 10, true, 2
	report := bench.Report{Machine: machine(), Rounds: 5, Tables: []bench.Table{{
		Storage: topology.File, Replicas: 1, Rows: []bench.Row{
			{Name: "publish (R)", Median: bench.Figures{Messages: 150_000, OfR: 1, WorkerCPU: 3.1, ServerCPU: 6.1}},
			{Name: one.String(), Case: &one, Median: bench.Figures{
				Updates: 63_000, Deliveries: 62_990, Pairs: 63_000, OfR: 0.42, WorkerCPU: 4, ServerCPU: 10, Resident: 80e6,
			}},
			{Name: "latency at 1000/s", Case: &one, Median: bench.Figures{Rate: 1000, Updates: 999, P50: 8.125, P99: 20, P999: 40}},
			{Name: "latency at 2000/s", Case: &one, Median: bench.Figures{Rate: 2000, Updates: 1234, P50: 99, P99: 200, P999: 400}},
			{Name: fanIn.String(), Case: &fanIn, Median: bench.Figures{Updates: 90_000, Deliveries: 400, Pairs: 900_000, OfR: 6}},
		},
	}}}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", text.String())
}

func curve() bench.Curve {
	return bench.Curve{Name: "recipients", Title: "recipients of <each> update", Storage: "file", Replicas: 1, Points: []bench.Point{
		{Value: 1, Figures: bench.Figures{Updates: 60_000, Pairs: 60_000, OfR: 0.4, WorkerCPU: 5, ServerCPU: 12, Resident: 80e6}},
		{Value: 1000, Figures: bench.Figures{Updates: 9, Pairs: 90_000, OfR: 0.6, WorkerCPU: 1.5, ServerCPU: 9}},
	}}
}

func TestGrowthText(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	report := bench.GrowthReport{Report: bench.Report{Machine: machine(), Rounds: 3}, Curves: []bench.Curve{curve()}}
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "growth.txt", text.String())
}

func TestChart(t *testing.T) {
	t.Parallel()
	golden(t, "chart.svg", curve().SVG())
}

func TestChartsAreFiles(t *testing.T) {
	t.Parallel()
	replicated := curve()
	replicated.Replicas = 3
	dir := filepath.Join(t.TempDir(), "charts")
	if err := (bench.GrowthReport{Curves: []bench.Curve{curve(), replicated}}).WriteCharts(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"growth-recipients-file.svg", "growth-recipients-file-r3.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*bench.Config)
		want   string // "" for no error
	}{
		{"default", func(*bench.Config) {}, ""},
		{"rounds", func(c *bench.Config) { c.Rounds = 0 }, "--rounds is 0: want 1 to 100"},
		{"duration", func(c *bench.Config) { c.Duration = time.Millisecond }, "--duration is 1ms: want 10ms to 1h"},
		{"storage", func(c *bench.Config) { c.Storages = []topology.Storage{"tape"} }, `--storage is "tape": want file or memory`},
		{"no storage", func(c *bench.Config) { c.Storages = nil }, "--storage, --replicas and --workers: want at least one of each"},
		{"name of a program", func(c *bench.Config) { c.Programs = []bench.Program{{Name: "router-worker"}} }, `--program is "router-worker": want a name of its own`},
		{"programs of a name", func(c *bench.Config) { c.Programs = []bench.Program{{Name: "a"}, {Name: "a"}} }, `--program is "a": want a name of its own`},
		{"replicas", func(c *bench.Config) { c.Replicas = []int{2} }, "--replicas is 2: want 1, 3 or 5"},
		{"workers", func(c *bench.Config) { c.Workers = []int{1, 65} }, "--workers is 65: want 1 to 64"},
		{"recipients", func(c *bench.Config) { c.Recipients = []int{0} }, "--recipients is 0: want 1 to 100000"},
		{"nobody", func(c *bench.Config) { c.Recipients, c.FanIn = nil, 0 }, "--recipients and --fan-in are empty: want one of them"},
		{"several", func(c *bench.Config) { c.Users, c.Partitions = 0, 0 }, "--users is 0: want 1 to 10000000\n--partitions is 0: want 1 to 256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := bench.DefaultConfig()
			tt.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	got := bench.Median([]bench.Figures{{Updates: 3, P50: 1}, {Updates: 1}, {Updates: 100, P50: 2}, {Updates: 5, P50: 4}})
	if want := (bench.Figures{Updates: 4, P50: 1.5}); got != want {
		t.Errorf("Median() = %+v, want %+v", got, want)
	}
	if got := bench.Median(nil); got != (bench.Figures{}) {
		t.Errorf("Median(nil) = %+v, want nothing", got)
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	of := make([]time.Duration, 1001)
	for i := range of {
		of[len(of)-1-i] = time.Duration(i) * time.Millisecond
	}
	if got, want := bench.Latencies(of), (bench.Figures{P50: 500, P99: 990, P999: 999}); got != want {
		t.Errorf("Latencies() = %+v, want %+v", got, want)
	}
}

func TestParseCPUTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0:01.23": 1230 * time.Millisecond, "00:00:07": 7 * time.Second, "01:02:03": time.Hour + 2*time.Minute + 3*time.Second,
		"2-01:00:00": 49 * time.Hour,
	} {
		if got, err := bench.ParseCPUTime(text); err != nil || got != want {
			t.Errorf("ParseCPUTime(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	if got, err := bench.ParseCPUTime("-"); err == nil {
		t.Errorf("ParseCPUTime(-) = %v, want an error", got)
	}
}
