package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

const scriptTimeout = 5 * time.Minute // to build two programs and start six processes

// TestDeployLocal runs the script that starts three servers and three workers: an
// update gets through, and nothing is left when the script has ended.
func TestDeployLocal(t *testing.T) {
	t.Parallel()
	ports, dir := natstest.FreePorts(t, 12), t.TempDir()
	script := startLocal(t, dir, ports)
	if err := script.logged("ready: ", scriptTimeout); err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("nats://127.0.0.1:%d", ports[1])
	capture := filepath.Join(t.TempDir(), "update.ndjson")
	if err := os.WriteFile(capture, []byte(`{"user_id":"@bob:example.com","state":"online"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	accept(t, nil, binaries.worker, "publish", "--nats", url, capture)
	accept(t, nil, binaries.worker, "deliveries", "--nats", url, "--user", "@alice:example.com", "--all", "--count", "1")

	script.signal(syscall.SIGTERM)
	script.awaitExit(0)
	for _, port := range ports {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = conn.Close()
			t.Errorf("something still listens on port %d", port)
		}
	}
	wantEmpty(t, dir)
}

// TestDeployLocalPortsTaken has something listen on a port of each kind: the script
// names them and starts nothing.
func TestDeployLocalPortsTaken(t *testing.T) {
	t.Parallel()
	ports, dir := natstest.FreePorts(t, 12), t.TempDir()
	var want strings.Builder
	for i, variable := range []string{"NATS_PORTS", "CLUSTER_PORTS", "MONITOR_PORTS", "HTTP_PORTS"} {
		kind := ports[3*i : 3*i+3]
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", kind[1]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		fmt.Fprintf(&want, "port %d is taken: choose others with %s, now %q\n", kind[1], variable, spaced(kind))
	}
	script := startLocal(t, dir, ports)
	script.awaitExit(1)
	if got := script.log.String(); got != want.String() {
		t.Errorf("the script wrote:\n%swant:\n%s", got, &want)
	}
	wantEmpty(t, dir)
}

// TestDeployLocalProcessEnds gives two servers the same port: the script ends with the
// reason that the second one logs.
func TestDeployLocalProcessEnds(t *testing.T) {
	t.Parallel()
	ports, dir := natstest.FreePorts(t, 12), t.TempDir()
	ports[1] = ports[0]
	script := startLocal(t, dir, ports)
	if err := script.logged(" has ended, its log ends with:", scriptTimeout); err != nil {
		t.Fatal(err)
	}
	script.awaitExit(1)
	script.wantLines(1, "address already in use")
	wantEmpty(t, dir)
}

// startLocal starts local.sh with three ports of each kind; dir is its place for
// temporary files.
func startLocal(t *testing.T, dir string, ports []int) *workerProcess {
	t.Helper()
	return startScript(t, filepath.Join(deployDir, "local.sh"),
		"TMPDIR="+dir,
		"NATS_PORTS="+spaced(ports[:3]),
		"CLUSTER_PORTS="+spaced(ports[3:6]),
		"MONITOR_PORTS="+spaced(ports[6:9]),
		"HTTP_PORTS="+spaced(ports[9:]),
	)
}

// wantEmpty wants the script to leave nothing in dir.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the script left %v behind (%v)", left, err)
	}
}

// startScript starts a script that is asked to end when the test does, so that it
// can end what it has started.
func startScript(t *testing.T, path string, environ ...string) *workerProcess {
	t.Helper()
	s := &workerProcess{t: t, id: filepath.Base(path), log: newWorkerLog(), exited: make(chan struct{})}
	s.cmd = exec.Command(path) //nolint:noctx // The script is our own; the process outlives this call.
	s.cmd.Env = append(os.Environ(), environ...)
	s.cmd.Stderr, s.cmd.Stdout = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // The exit code is looked at where it matters.
	}()
	t.Cleanup(func() {
		s.signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(exitTimeout):
			t.Errorf("%s has not ended after %v", path, exitTimeout)
			s.kill()
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", path, s.log)
		}
	})
	return s
}

func spaced(ports []int) string {
	return strings.Trim(fmt.Sprint(ports), "[]")
}
