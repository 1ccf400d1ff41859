package main_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
)

// openTerminal returns both ends of a terminal of six lines: what programs have and
// what people see.
func openTerminal(t *testing.T) (program, people *os.File) {
	t.Helper()
	people, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = people.Close() })
	fd := int(people.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock the terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("look up the terminal: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 6, Col: 80}); err != nil {
		t.Fatalf("size the terminal: %v", err)
	}
	return program, people
}

// watchStatus runs status --watch on a terminal, and returns what people see of it.
func watchStatus(t *testing.T, env []string) (p *process, seen *watched, read <-chan struct{}) {
	t.Helper()
	program, people := openTerminal(t)
	p = newProcess(t, env, "status", "--watch", "--interval", "500ms")
	p.cmd.Stdout = program
	p.begin()
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	seen = newWatched()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(seen, people) // It ends with an error once the program has.
	}()
	return p, seen, ended
}

func TestStatusWatch(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	p, seen, read := watchStatus(t, env)
	text := p.await(seen, "and 5 more lines")
	if !strings.Contains(text, "0 workers, 4 partitions") || !strings.HasPrefix(text, "\x1b[2J") {
		t.Errorf("status --watch shows %q, want a screen that begins with the summary", text)
	}
	startWorker(t, env)
	p.await(seen, "1 worker, 4 partitions")
	p.signal(syscall.SIGINT)
	if code := p.code(); code != 0 {
		t.Errorf("status --watch ends with %d, want 0", code)
	}
	<-read
}

// While NATS is away, status --watch says so in place of what it knew, and it goes on by
// itself.
func TestStatusWatchWithoutServer(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	env := natsAt(server.URL())
	expect(t, 0, "", env, "topology", "apply")
	p, seen, read := watchStatus(t, env)
	awaitScreen(t, seen, "No worker is running", "not connected to NATS")
	server.Shutdown()
	awaitScreen(t, seen, "not connected to NATS", "partitions")
	up, err := natsserver.Start(server.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Shutdown)
	awaitScreen(t, seen, "No worker is running", "not connected to NATS")
	p.signal(syscall.SIGINT)
	if code := p.code(); code != 0 {
		t.Errorf("status --watch ends with %d, want 0", code)
	}
	<-read
}

// awaitScreen waits until people see one text and do not see the other.
func awaitScreen(t *testing.T, seen *watched, text, without string) {
	t.Helper()
	eventually(t, func() error {
		all := seen.String()
		newest := all[max(0, strings.LastIndex(all, "\x1b[H")):]
		if !strings.Contains(newest, text) || strings.Contains(newest, without) {
			return fmt.Errorf("status --watch shows %q, want %q in it and not %q", newest, text, without)
		}
		return nil
	})
}
