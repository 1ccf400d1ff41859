package integration_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	readyTimeout = time.Minute
	exitTimeout  = time.Minute
)

// workerProcess is one router-worker process.
type workerProcess struct {
	t         testing.TB
	id        string
	cmd       *exec.Cmd
	log       *workerLog
	mostLines int           // that the process may write
	exited    chan struct{} // closed when the process has ended
}

// startProcess starts the router-worker at binary with arguments and variables over those of the
// test. It is killed when the test ends; its log is part of a failure.
func startProcess(tb testing.TB, binary, id string, environ []string, args ...string) *workerProcess {
	tb.Helper()
	w := &workerProcess{t: tb, id: id, mostLines: maxLogLines, log: newWorkerLog(), exited: make(chan struct{})}
	w.cmd = exec.Command(binary, args...) //nolint:gosec,noctx // The binary is our own; the process outlives this call.
	w.cmd.Env = append(os.Environ(), environ...)
	w.cmd.Stderr, w.cmd.Stdout = w.log, w.log
	w.cmd.SysProcAttr = dieWithParent()
	if err := w.cmd.Start(); err != nil {
		tb.Fatalf("start worker %s: %v", id, err)
	}
	go func() {
		defer close(w.exited)
		_ = w.cmd.Wait() // The exit code is looked at where it matters.
	}()
	tb.Cleanup(w.cleanUp)
	return w
}

func (w *workerProcess) cleanUp() {
	w.kill()
	if total := w.log.count(); total > w.mostLines {
		w.t.Errorf("worker %s wrote %d lines of log, at most %d are in order", w.id, total, w.mostLines)
	}
	if w.t.Failed() {
		w.t.Logf("log of worker %s (%d lines):\n%s", w.id, w.log.count(), w.log)
	}
}

// kill ends the process at once, with SIGKILL.
func (w *workerProcess) kill() {
	w.signal(syscall.SIGKILL)
	<-w.exited
}

// signal sends s to the process, if it runs.
func (w *workerProcess) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Errorf("send %v to worker %s: %v", s, w.id, err)
	}
}

// awaitExit waits for the end of the process and compares its exit code. A process
// that hangs leaves the stacks of its goroutines in the log.
func (w *workerProcess) awaitExit(want int) {
	w.t.Helper()
	select {
	case <-w.exited:
	case <-time.After(exitTimeout):
		w.dump()
		w.t.Errorf("worker %s has not ended after %v: its log ends with its goroutines", w.id, exitTimeout)
		return
	}
	if got := w.cmd.ProcessState.ExitCode(); got != want {
		w.t.Errorf("worker %s ended with exit code %d, want %d", w.id, got, want)
	}
}

// dump has the process write the stacks of its goroutines, which ends it.
func (w *workerProcess) dump() {
	w.log.keepAll()
	w.signal(syscall.SIGQUIT)
	select {
	case <-w.exited:
	case <-time.After(exitTimeout):
	}
}

// terminate asks the process to end, once it is there to be asked, and wants it to
// do so in good order.
func (w *workerProcess) terminate(s syscall.Signal) {
	w.t.Helper()
	w.awaitLog("msg=starting")
	w.signal(s)
	w.awaitExit(0)
}

// awaitLog waits for a line with text in it. A process that ends without writing
// it fails the test.
func (w *workerProcess) awaitLog(text string) {
	w.t.Helper()
	if err := w.logged(text, readyTimeout); err != nil {
		w.t.Fatal(err)
	}
}

// logged waits for a line with text in it. A process that does not write it in
// time is ended, and its log ends with its goroutines.
func (w *workerProcess) logged(text string, within time.Duration) error {
	deadline := time.After(within)
	for {
		exited := w.hasExited()
		lines, grown := w.log.matching(text)
		switch {
		case len(lines) > 0:
			return nil
		case exited:
			return fmt.Errorf("worker %s ended without a line about %q", w.id, text)
		}
		select {
		case <-grown:
		case <-w.exited:
		case <-deadline:
			w.dump()
			return fmt.Errorf("worker %s wrote no line about %q within %v", w.id, text, within)
		}
	}
}

func (w *workerProcess) hasExited() bool {
	select {
	case <-w.exited:
		return true
	default:
		return false
	}
}

// shareClaimed is what a worker logs when it has its share of the partitions for
// the first time.
const shareClaimed = "claimed the partitions"

// awaitReady waits until the worker serves its partitions.
func (w *workerProcess) awaitReady() {
	w.t.Helper()
	w.awaitLog(shareClaimed)
}

// wantLines wants exactly n lines with text in the log.
func (w *workerProcess) wantLines(n int, text string) {
	w.t.Helper()
	if lines, _ := w.log.matching(text); len(lines) != n {
		w.t.Errorf("worker %s wrote %d lines about %q, want %d:\n%s", w.id, len(lines), text, n, strings.Join(lines, "\n"))
	}
}

// wantAtMost wants no more than n lines in the log.
func (w *workerProcess) wantAtMost(n int) {
	w.t.Helper()
	if got := w.log.count(); got > n {
		w.t.Errorf("worker %s wrote %d lines, want at most %d", w.id, got, n)
	}
}
