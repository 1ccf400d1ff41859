package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	stopTimeout  = 15 * time.Second
	startTimeout = 60 * time.Second
	maxErrorText = 4 << 10
)

// child is a process that is measured. It ends when its standard input is closed
// or at SIGTERM, as it is used to.
type child struct {
	cmd    *exec.Cmd
	in     io.Closer
	first  chan string   // receives the first line of output
	errors tail          // read once exited is closed
	exited chan struct{} // closed when the process has ended
}

// startChild starts a process that no configuration in the environment reaches.
func startChild(path string, args ...string) (*child, error) {
	c := &child{first: make(chan string, 1), exited: make(chan struct{})}
	c.cmd = exec.Command(path, args...) //nolint:gosec,noctx // The caller names the program, and ends it with stop.
	c.cmd.Env = environment()
	c.cmd.Stderr = &c.errors
	c.cmd.SysProcAttr = dieWithParent()
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	c.in = in
	go c.follow(out)
	return c, nil
}

func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "ROUTER_WORKER_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// firstLine waits for the first line that the process writes.
func (c *child) firstLine(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case line := <-c.first:
		return line, nil
	case <-c.exited:
		return "", fmt.Errorf("wait for %s to begin: it ended: %s", c.cmd.Path, c.errors.text())
	case <-ctx.Done():
		return "", fmt.Errorf("wait for %s to begin: %w", c.cmd.Path, ctx.Err())
	}
}

// follow passes on the first line that the process writes, drops the others and
// waits for its end.
func (c *child) follow(out io.Reader) {
	defer close(c.exited)
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err == nil {
		c.first <- strings.TrimSpace(line)
	}
	_, _ = io.Copy(io.Discard, lines)
	_ = c.cmd.Wait() // What it wrote to stderr tells more than the exit code.
}

func (c *child) hasExited() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and makes it after a while.
func (c *child) stop() error {
	asked := errors.Join(ignoreDone(c.in.Close()), ignoreDone(c.cmd.Process.Signal(syscall.SIGTERM)))
	bound := time.NewTimer(stopTimeout)
	defer bound.Stop()
	select {
	case <-c.exited:
		return asked
	case <-bound.C:
	}
	killed := ignoreDone(c.cmd.Process.Kill())
	<-c.exited
	return errors.Join(asked, killed, fmt.Errorf("stop %s: it ran on after %v", c.cmd.Path, stopTimeout))
}

// ignoreDone returns nil where err says that the process has ended already.
func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// stopAll stops children and returns what went wrong.
func stopAll(children []*child) error {
	var errs []error
	for _, c := range children {
		errs = append(errs, c.stop())
	}
	return errors.Join(errs...)
}

// tail keeps the end of what is written to it. Only one goroutine writes, and it
// is read when that has ended.
type tail struct{ kept []byte }

// Write keeps the end of what was written so far.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxErrorText; over > 0 {
		t.kept = t.kept[over:]
	}
	return len(p), nil
}

func (t *tail) text() string { return strings.TrimSpace(string(t.kept)) }
