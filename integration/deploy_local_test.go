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
	const each = 3
	ports := natstest.FreePorts(t, 4*each)
	dir := t.TempDir()
	script := startScript(t, filepath.Join(deployDir, "local.sh"),
		"TMPDIR="+dir,
		"NATS_PORTS="+spaced(ports[:each]),
		"CLUSTER_PORTS="+spaced(ports[each:2*each]),
		"MONITOR_PORTS="+spaced(ports[2*each:3*each]),
		"HTTP_PORTS="+spaced(ports[3*each:]),
	)
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
