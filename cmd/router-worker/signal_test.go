package main_test

import (
	"bufio"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/presence-router/presence-router/internal/matrixtest"
)

func TestServicesGoOnAfterSIGHUP(t *testing.T) {
	t.Parallel()
	const line = `level=INFO msg="going on after SIGHUP: reload is not supported yet, restart to read the configuration again"`
	a := withAbroad(t)
	env := slices.Concat(a.env, []string{"ROUTER_WORKER_WORKER_ID=second"})
	for name, p := range map[string]*process{"run": startWorker(t, env), "federate": a.federate(t)} {
		p.signal(syscall.SIGHUP)
		p.await(p.stderr, line)
		wantAnswer(t, p, "/readyz", "ready\n")
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 0 || strings.Count(p.stderr.String(), line) != 1 {
			t.Errorf("%s ends with %d after SIGHUP and SIGTERM and logs %q, want 0 and one line on SIGHUP", name, got, p.stderr)
		}
	}
}

func TestClosingTerminalEndsWhatIsShown(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	p := start(t, "", []string{"TMPDIR=" + temp}, "demo", "--keep")
	p.await(p.stdout, "until Ctrl-C")
	url := "nats://" + strings.Fields(strings.SplitAfter(p.stdout.String(), "nats://")[1])[0]
	follower := start(t, "", nil, "deliveries", "--nats", url)
	follower.await(follower.stderr, "following")
	for _, p := range []*process{follower, p} {
		p.signal(syscall.SIGHUP)
		_ = p.cmd.Process.Signal(syscall.SIGHUP) // from the shell and from the kernel; it may have ended
		if got := p.code(); got != 0 {
			t.Errorf("%v ends with %d after SIGHUP, want 0", p.cmd.Args[1:], got)
		}
	}
	if left, _ := filepath.Glob(temp + "/*"); len(left) > 0 {
		t.Errorf("the demo leaves %v behind", left)
	}
}

func TestDemoWhoseOutputCloses(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	p := newProcess(t, []string{"TMPDIR=" + temp}, "demo")
	p.cmd.Stdout = nil
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReaderSize(output, 16).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := output.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil || p.stderr.String() != "" {
		t.Errorf("the demo ends with %v and says %q, want that it ends quietly", err, p.stderr)
	}
	if left, _ := filepath.Glob(temp + "/*"); len(left) > 0 {
		t.Errorf("the demo leaves %v behind", left)
	}
}

func TestProcessIsNotReadyOnceItSaysThatItStops(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	a.Fail(matrixtest.Slow)
	p := a.federate(t, "ROUTER_WORKER_FEDERATE_STOP_TIMEOUT=1m")
	a.says(t, "lunch", 0)
	a.next(t) // it is under way, and keeps the process
	p.signal(syscall.SIGTERM)
	p.await(p.stderr, "msg=stopping")
	if code, body := get(t, p, "/readyz"); code != http.StatusServiceUnavailable || body != "not ready: the process is stopping\n" {
		t.Errorf("/readyz answers %d: %q, want that the process is stopping", code, body)
	}
	p.signal(syscall.SIGTERM)
	p.code()
}
