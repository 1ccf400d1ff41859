package main_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

// bound is how long anything that is waited for may take.
const bound = time.Minute

var (
	update = flag.Bool("update", false, "write the golden files anew")
	binary string //nolint:gochecknoglobals // The program under test, built once for all.
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "router-worker-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is in the system's directory for what may be left.
	binary = filepath.Join(dir, "router-worker")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, ".") //nolint:gosec // The path is the test's own.
	if output, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build router-worker: %v\n%s", err, output)
		return 1
	}
	return m.Run()
}

// process is a run of the program.
type process struct {
	tb             testing.TB
	cmd            *exec.Cmd
	stdout, stderr *watched
	exited         chan struct{}
}

// start starts the program with nothing in its environment but env.
func start(tb testing.TB, stdin string, env []string, args ...string) *process {
	tb.Helper()
	p := newProcess(tb, env, args...)
	p.cmd.Stdin = strings.NewReader(stdin)
	p.begin()
	return p
}

func newProcess(tb testing.TB, env []string, args ...string) *process {
	tb.Helper()
	p := &process{tb: tb, stdout: newWatched(), stderr: newWatched(), exited: make(chan struct{})}
	p.cmd = exec.CommandContext(tb.Context(), binary, args...) //nolint:gosec // The path is the test's own.
	p.cmd.Env = append([]string{"HOME=" + tb.TempDir(), "TZ=UTC"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	return p
}

func (p *process) begin() {
	p.tb.Helper()
	if err := p.cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	p.tb.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if p.tb.Failed() {
			p.tb.Logf("%v\nstdout:\n%s\nstderr:\n%s", p.cmd.Args[1:], p.stdout, p.stderr)
		}
	})
}

// code returns the exit code, once the program has ended.
func (p *process) code() int {
	p.tb.Helper()
	select {
	case <-p.exited:
	case <-time.After(bound):
		p.tb.Fatalf("%v runs on after %v", p.cmd.Args[1:], bound)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatalf("send %v: %v", s, err)
	}
}

// await waits until the output holds text and returns the output.
func (p *process) await(output *watched, text string) string {
	p.tb.Helper()
	deadline := time.After(bound)
	for {
		written, changed := output.read()
		if strings.Contains(written, text) {
			return written
		}
		select {
		case <-changed:
		case <-p.exited:
			if written, _ = output.read(); strings.Contains(written, text) {
				return written
			}
			p.tb.Fatalf("ended with %v and without %q", p.cmd.ProcessState, text)
		case <-deadline:
			p.tb.Fatalf("no %q after %v", text, bound)
		}
	}
}

// watched is output that can be waited for.
type watched struct {
	mu      sync.Mutex
	written bytes.Buffer
	changed chan struct{}
}

func newWatched() *watched { return &watched{changed: make(chan struct{})} }

func (w *watched) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
	return w.written.Write(data)
}

func (w *watched) read() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written.String(), w.changed
}

func (w *watched) String() string {
	written, _ := w.read()
	return written
}

// expect runs the program to its end and fails the test at another exit code.
func expect(tb testing.TB, code int, stdin string, env []string, args ...string) *process {
	tb.Helper()
	p := start(tb, stdin, env, args...)
	if got := p.code(); got != code {
		tb.Fatalf("%v ends with %d, want %d", args, got, code)
	}
	return p
}

// natsAt is the environment of a program that uses the server at url.
func natsAt(url string) []string {
	return []string{
		"ROUTER_WORKER_NATS_URL=" + url, "ROUTER_WORKER_SERVER_NAMES=example.com",
		"ROUTER_WORKER_HTTP_LISTEN=127.0.0.1:0", "ROUTER_WORKER_STREAMS_PARTITIONS=4",
	}
}

// write writes a file of the test and returns its path.
func write(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// eventually asks until try returns nil.
func eventually(tb testing.TB, try func() error) {
	tb.Helper()
	deadline := time.After(bound)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			tb.Fatalf("after %v: %v", bound, err)
		}
	}
}

// golden compares got with the file in testdata, or writes that with -update.
func golden(tb testing.TB, name, got string) {
	tb.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if got != string(want) {
		tb.Errorf("got:\n%s\nwant, as in %s:\n%s", got, path, want)
	}
}

func jetStream(tb testing.TB, url string) jetstream.JetStream {
	tb.Helper()
	return natstest.JetStream(tb, natstest.Connect(tb, url))
}

// publishRaw publishes data as a homeserver would that checks nothing.
func publishRaw(tb testing.TB, js jetstream.JetStream, subject, data string, header nats.Header) {
	tb.Helper()
	if _, err := js.PublishMsg(tb.Context(), &nats.Msg{Subject: subject, Data: []byte(data), Header: header}); err != nil {
		tb.Fatalf("publish to %s: %v", subject, err)
	}
}
