package integration_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clockFile, in the environment of a worker that buildSkewed has built, names a file of
// 8 bytes: the seconds by which the wall clock is wrong, as the machine stores them.
const clockFile = "PRESENCE_TEST_CLOCK"

// skewSource becomes part of package time. The monotonic clock stays right, as it does
// where somebody sets the time of a machine. Timers ask for the time where no system
// call may be made, so the file is mapped.
const skewSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var skewed = mapClock()

func mapClock() *int64 {
	path, _ := syscall.Getenv("` + clockFile + `")
	if path == "" {
		return new(int64)
	}
	file, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("open " + path + ": " + err.Error())
	}
	defer syscall.Close(file)
	seconds, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map " + path + ": " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&seconds[0]))
}

func skew() int64 { return atomic.LoadInt64(skewed) }
`

// buildSkewed builds router-worker, once for all tests, so that its wall clock is wrong
// by what a file says.
var buildSkewed = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // What it builds is for all tests.
	dir := filepath.Dir(binaries.worker)
	overlay, err := writeOverlay(dir)
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "router-worker-skewed")
	command := exec.Command("go", "build", "-overlay", overlay, "-o", program, "../cmd/router-worker") //nolint:gosec // The paths are our own.
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build router-worker with a clock that jumps: %w\n%s", err, output)
	}
	return program, nil
})

// writeOverlay writes what go build puts in the place of files of package time.
func writeOverlay(dir string) (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output() //nolint:noctx // It takes a moment.
	if err != nil {
		return "", fmt.Errorf("find the source of Go: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	original, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		return "", err
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(original), reading) != 1 {
		return "", fmt.Errorf("time.Now of %s does not begin with %q any more: mend this test", source, reading)
	}
	skewed := filepath.Join(dir, "time.go.skewed")
	added := filepath.Join(dir, "skew.go.added")
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(source, "time.go"): skewed, filepath.Join(source, "skew.go"): added,
	}})
	return overlay, errors.Join(err,
		os.WriteFile(skewed, []byte(strings.Replace(string(original), reading, reading+"\tsec += skew()\n", 1)), 0o600),
		os.WriteFile(added, []byte(skewSource), 0o600),
		os.WriteFile(overlay, replace, 0o600))
}

// setClock has the clock of the workers at a place be wrong.
func (m *member) setClock(seconds int) error {
	if m.clock == "" {
		return errors.New("set a clock: the workers are not built for it")
	}
	file, err := os.OpenFile(m.clock, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(binary.NativeEndian.AppendUint64(nil, uint64(seconds))) //nolint:gosec // Two's complement.
	return errors.Join(err, file.Close())
}

func jumps() nemesis { return nemesis{"clocks of workers jump", clocks, jumpClocks} }

// jumpClocks has the clocks of workers jump by 5 minutes forwards and back, each by
// itself.
func jumpClocks(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	const jumps = 4
	for range jumps {
		for _, m := range f.members {
			if err := m.setClock(oneOf(numbers, -300, 0, 300)); err != nil {
				return err
			}
		}
		after(ctx, time.Second/2+upTo(numbers, f.tuning.ttl))
	}
	return nil
}

// jumpWhileDead kills a worker, and has the clocks of the others jump back before they
// know. Whoever waits by that clock for the dead one's time to be over waits for minutes.
func jumpWhileDead(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	dead := f.pick(numbers)
	if err := f.setClocks(300); err != nil {
		return err
	}
	after(ctx, f.tuning.ttl)
	f.kill(dead)
	if err := f.setClocks(-300); err != nil {
		return err
	}
	after(ctx, upTo(numbers, 2*f.tuning.ttl))
	f.restart(dead)
	return nil
}

func (f *fleet) setClocks(seconds int) error {
	for _, m := range f.members {
		if err := m.setClock(seconds); err != nil {
			return err
		}
	}
	return nil
}

// TestFaultSkewedClock starts a worker whose clock is wrong, and has it jump.
func TestFaultSkewedClock(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	if !e.full() {
		t.Skip("NOT TESTED: building Go's library with another clock takes a minute; FAULT_DURATION gives the time")
	}
	l := newLoad(e.numbers(t), 50, 2)
	d := deploy(t, l)
	program, err := buildSkewed()
	if err != nil {
		t.Fatal(err)
	}
	d.binary = program
	m := &member{clock: filepath.Join(t.TempDir(), "clock")}
	if err := m.setClock(-300); err != nil {
		t.Fatal(err)
	}
	worker := d.start(settings{clockFile: m.clock})
	worker.awaitReady()
	wantSkewed(t, worker, shareClaimed, -300*time.Second)
	if err := m.setClock(300); err != nil {
		t.Fatal(err)
	}
	worker.terminate(syscall.SIGTERM)
	wantSkewed(t, worker, "msg=stopping", 300*time.Second)
}

// wantSkewed wants the clock of a worker to have been wrong when it wrote a line.
func wantSkewed(t *testing.T, w *workerProcess, text string, by time.Duration) {
	t.Helper()
	lines, _ := w.log.matching(text)
	if len(lines) == 0 {
		t.Fatalf("worker %s wrote no line about %q", w.id, text)
	}
	_, rest, _ := strings.Cut(lines[0], "time=")
	written, err := time.Parse(time.RFC3339, strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	if wrong := time.Until(written) - by; wrong.Abs() > time.Minute {
		t.Errorf("worker %s wrote %q, want a clock that is wrong by %v", w.id, lines[0], by)
	}
}
