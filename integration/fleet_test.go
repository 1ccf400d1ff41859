package integration_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
)

const (
	fleetSize    = 3               // workers, and servers where they are a cluster
	fleetGuests  = 4               // more workers at most that join and leave
	fleetTimeout = 2 * time.Minute // for what has to happen after a fault
)

// fleet is three servers, or one, and some workers, each of which reaches them over a
// link of its own. What has a lane of its own may be struck at the same time, by one
// goroutine each.
type fleet struct {
	*deployment

	tuning  tuning
	cluster *natstest.ProcessCluster
	members []*member
	guests  []*member // places for the workers of storms, empty but for those

	disk      *natstest.SmallDisk // of the server, if it has one that may be full
	switching sync.Mutex          // held while it is full, and while the server is asked for another layout

	workers  []*workerProcess // all that there ever were
	cut      bool             // a stream went back
	disabled int              // times that a server gave JetStream up on a full disk

	mu       sync.Mutex
	losses   []loss
	problems []string // what went wrong, and is not in the history
}

// member is a place for a worker, which has one process after the other.
type member struct {
	link    *integration.Link
	amid    *amid  // nil unless the campaign strikes batches
	clock   string // path of what is wrong with the clock of its workers, "" where they cannot be wrong
	process *workerProcess
}

// muster starts a fleet of the program at binary.
func muster(t *testing.T, l *load, binary string, tune tuning) *fleet {
	t.Helper()
	options := natstest.ProcessOptions{Binary: binaries.natsServer}
	var disk *natstest.SmallDisk
	if tune.disk > 0 {
		disk = natstest.NewSmallDisk(t, tune.disk)
		options.StoreDir, options.MaxFileStore = filepath.Join(disk.Dir(), "store"), 1<<40 // Streams reserve more than there is.
	}
	cluster := natstest.StartProcessCluster(t, tune.servers, options)
	f := &fleet{deployment: configure(t, cluster.URL(), l, tune.settings()), tuning: tune, cluster: cluster, disk: disk}
	f.binary = binary
	f.nc = natstest.Connect(t, cluster.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // Servers come and go.
	f.js = natstest.JetStream(t, f.nc)
	for range fleetSize {
		m := f.place()
		f.restart(m)
		f.members = append(f.members, m)
	}
	for range fleetGuests {
		f.guests = append(f.guests, f.place())
	}
	for _, m := range f.members {
		if err := m.process.logged(shareClaimed, fleetTimeout); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fleet) problem(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// place returns a place for a worker.
func (f *fleet) place() *member {
	f.t.Helper()
	urls := make([]string, len(f.cluster.Servers))
	for i, s := range f.cluster.Servers {
		urls[i] = s.URL()
	}
	m := &member{}
	if f.tuning.amid {
		m.amid = new(amid)
		urls = m.amid.urls(f.t, urls)
	}
	if f.tuning.skewed {
		m.clock = filepath.Join(f.t.TempDir(), "clock")
		if err := m.setClock(0); err != nil {
			f.t.Fatal(err)
		}
	}
	m.link = newLink(f.t, urls...)
	return m
}

// restart starts a worker at a place that has none.
func (f *fleet) restart(m *member) {
	f.t.Helper()
	m.process = f.start(settings{"NATS_URL": m.link.URL(), clockFile: m.clock})
	m.process.mostLines = 10 * maxLogLines
	f.workers = append(f.workers, m.process)
}

// kill ends a worker at once.
func (f *fleet) kill(m *member) {
	f.wantRunning(m)
	m.process.kill()
}

// leave asks a worker to end, and waits until it has.
func (f *fleet) leave(m *member) {
	f.wantRunning(m)
	m.process.signal(syscall.SIGTERM)
	select {
	case <-m.process.exited:
	case <-time.After(fleetTimeout):
		m.process.dump()
		f.problem("worker %s has not ended %v after SIGTERM", m.process.id, fleetTimeout)
	}
}

// wantRunning notes where a worker has ended by itself.
func (f *fleet) wantRunning(m *member) {
	if m.process.hasExited() {
		f.problem("worker %s has ended by itself, with exit code %d", m.process.id, m.process.cmd.ProcessState.ExitCode())
	}
}

// restartServer ends a server with a signal, has it away for a while, and waits
// until it has caught up again. A server that does not end is killed, as service managers
// do; nats-server (2.15) may hang that way once its disk was full.
func (f *fleet) restartServer(ctx context.Context, s *natstest.Process, signal syscall.Signal, away time.Duration) error {
	end := s.Stop
	if signal == syscall.SIGKILL {
		end = s.Kill
	}
	err := end()
	if errors.Is(err, natstest.ErrKilled) {
		f.t.Log(err)
	} else if err != nil {
		return err
	}
	waitUntil(ctx, time.Now().Add(away))
	if err := s.Start(ctx); err != nil {
		return err
	}
	return f.awaitCurrent(ctx)
}

// awaitCurrent waits until every server has caught up.
func (f *fleet) awaitCurrent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	return f.cluster.AwaitCurrent(ctx, f.js)
}

// settle waits until every update is committed, for a while, and ends the workers,
// which all have to be there and to end in good order.
func (f *fleet) settle(within time.Duration) {
	f.t.Helper()
	if err := retry(f.t.Context(), within, f.uncommitted); err != nil {
		f.problem("the workers do not catch up within %v: %v", within, err)
	}
	for _, m := range f.members {
		f.leave(m)
		if code := m.process.cmd.ProcessState.ExitCode(); code != 0 {
			f.problem("worker %s ended with exit code %d, want 0", m.process.id, code)
		}
	}
	for _, w := range f.workers {
		f.wantNoBreak(w)
	}
}

// uncommitted returns nil where every stored update is committed.
func (f *fleet) uncommitted(ctx context.Context) error {
	layout, err := f.layout(ctx)
	if err != nil {
		return err
	}
	for p := range layout.Partitions {
		if err := f.committed(ctx, f.subjects.In(layout.Generation), p); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

// wantNoBreak wants a worker not to have taken a stream for one that went back or
// was made again, unless one did.
func (f *fleet) wantNoBreak(w *workerProcess) {
	if f.cut {
		return
	}
	for _, text := range []string{broken, "claiming the partition anew", "checkpoints are gone"} {
		lines, _ := w.log.matching(text)
		for _, line := range lines {
			f.problem("worker %s: %s", w.id, line)
		}
	}
}
