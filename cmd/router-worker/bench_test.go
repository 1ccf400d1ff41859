package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

// benchArgs are those of a benchmark that is over soon.
func benchArgs(more ...string) []string {
	return append([]string{"bench", "--rounds", "1", "--duration", "20ms", "--storage", "memory", "--users", "100"}, more...)
}

func TestBenchMeasuresEverything(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	p := start(t, "", []string{"TMPDIR=" + tmp, "ROUTER_WORKER_SERVER_NAMES=not a server name"},
		benchArgs("--recipients", "2", "--fan-in", "3", "--json")...)
	awaitBench(t, p, 0)
	var report struct {
		Machine struct {
			Server string `json:"nats_server"`
		}
		Tables []struct {
			Storage string
			Rows    []struct {
				Name   string
				Median map[string]float64
			}
		}
	}
	written, _ := p.stdout.read()
	if err := json.Unmarshal([]byte(written), &report); err != nil {
		t.Fatalf("decode %q: %v", written, err)
	}
	if len(report.Tables) != 1 || report.Tables[0].Storage != "memory" || report.Machine.Server == "" {
		t.Fatalf("report %+v, want one table, of memory, and the version of the server", report)
	}
	want := map[string]string{
		"publish (R)": "messages_per_second", "consume": "messages_per_second", "fast ingest": "messages_per_second",
		"k = 2": "deliveries_per_second", "fan-in 3": "pairs_per_second",
		"latency at 1000/s": "latency_p999_ms", "publish to read": "of_r", "latency at half of publish to read": "latency_p50_ms",
	}
	for _, row := range report.Tables[0].Rows {
		if row.Median[want[row.Name]] <= 0 {
			t.Errorf("%s: %v, want its %q", row.Name, row.Median, want[row.Name])
		}
		delete(want, row.Name)
	}
	if len(want) > 0 {
		t.Errorf("the report lacks %v", want)
	}
	wantEmpty(t, tmp)
}

func TestBenchOnGivenServer(t *testing.T) {
	t.Parallel()
	url := natstest.Run(t).URL()
	p := start(t, "", nil, benchArgs("--nats", url, "--recipients", "1", "--fan-in", "0", "--raw=false", "--latency=false")...)
	awaitBench(t, p, 0)
	if written, _ := p.stdout.read(); !strings.Contains(written, "k = 1") || !strings.Contains(written, "(given)") {
		t.Errorf("output %q, want a row of k = 1 on the given server", written)
	}
	if left := streamNames(t, jetStream(t, url)); len(left) > 0 {
		t.Errorf("streams %v are left behind", left)
	}
}

func TestBenchStopsAtSignal(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	p := start(t, "", []string{"TMPDIR=" + tmp}, benchArgs("--duration", "1h")...)
	eventually(t, func() error {
		stores, err := filepath.Glob(filepath.Join(tmp, "*", "n1", "jetstream"))
		if err == nil && len(stores) == 0 {
			err = errors.New("the server has no store")
		}
		return err
	})
	p.signal(syscall.SIGTERM)
	awaitBench(t, p, 1)
	wantEmpty(t, tmp)
}

// A program that ends is not waited for.
func TestBenchOfProgramThatEnds(t *testing.T) {
	t.Parallel()
	p := start(t, "", nil, benchArgs("--recipients", "1", "--fan-in", "0", "--raw=false", "--latency=false", "--program", "ends="+os.Args[0])...)
	awaitBench(t, p, 1)
	const want = "all workers have ended: "
	if written, _ := p.stderr.read(); !strings.Contains(written, want) {
		t.Errorf("bench says %q, want %q", written, want)
	}
}

func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"--rounds 0", "--rounds is 0: want 1 to 100"},
		{"--storage tape", `--storage is "tape": want file or memory`},
		{"--nats nonsense", "--nats is"},
		{"--program watermill", `--program is "watermill": want NAME=PATH`},
		{"--program x=/nonexistent", "--program x: "},
		{"growth --users 0", "--users is 0"},
	} {
		p := start(t, "", nil, append([]string{"bench"}, strings.Fields(tt.args)...)...)
		if code := p.code(); code != 2 {
			t.Errorf("bench %s: exit code %d, want 2", tt.args, code)
		}
		if written, _ := p.stderr.read(); !strings.Contains(written, tt.want) {
			t.Errorf("bench %s says %q, want %q", tt.args, written, tt.want)
		}
	}
}

// awaitBench waits for the end of a benchmark, which starts many processes.
func awaitBench(t *testing.T, p *process, code int) {
	t.Helper()
	const patience = 5 * time.Minute
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("%v runs on after %v", p.cmd.Args[1:], patience)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%v ends with %d, want %d", p.cmd.Args[1:], got, code)
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left behind", entry.Name())
	}
}
