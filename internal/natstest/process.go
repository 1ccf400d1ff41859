package natstest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	processReadyTimeout = time.Minute
	processStopTimeout  = 30 * time.Second
)

// ErrKilled is the error about a process that does not end when it is asked to.
var ErrKilled = errors.New("it was killed")

// ProcessOptions says how a nats-server process runs. Binary is required.
type ProcessOptions struct {
	Binary       string        // as BuildBinary returns it
	Name         string        // made up where empty
	Port         int           // a free port where 0
	StoreDir     string        // a directory of the test where empty
	MaxFileStore int64         // bytes that streams may reserve; three quarters of the disk where 0
	StopTimeout  time.Duration // bound on the time that Stop takes, 30 s where 0; as long again for its stacks
	SyncInterval time.Duration // time between two fsyncs of a stream; 2 minutes where 0
	Config       string        // appended to the configuration file, such as accounts or a cluster
}

// Process is a nats-server in a process of its own. Its methods, URL apart, are called
// by one goroutine at a time.
type Process struct {
	options ProcessOptions
	config  string // path of the configuration file
	log     string // path of the log file
	logged  int64  // bytes of it from before the last start
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has ended
}

// StartProcess starts a process for the length of the test and returns it when it
// accepts connections.
func StartProcess(tb testing.TB, options ProcessOptions) *Process {
	tb.Helper()
	p := NewProcess(tb, options)
	if err := p.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return p
}

// NewProcess returns a process that is not started yet. It is killed when the test
// ends; if the test has failed, the end of its log is part of the output.
func NewProcess(tb testing.TB, options ProcessOptions) *Process {
	tb.Helper()
	dir := tb.TempDir()
	if options.StoreDir == "" {
		options.StoreDir = filepath.Join(dir, "store")
	}
	if options.Name == "" {
		options.Name = "natstest-" + strconv.FormatUint(rand.Uint64(), 36) //nolint:gosec // A name is no secret.
	}
	options.StopTimeout = cmp.Or(options.StopTimeout, processStopTimeout)
	p := &Process{
		options: options,
		config:  filepath.Join(dir, "nats-server.conf"),
		log:     filepath.Join(dir, "nats-server.log"),
	}
	tb.Cleanup(func() { p.cleanUp(tb) })
	return p
}

// URL returns the URL that clients connect to, the same over restarts. A free port
// is known after the first start; from then on, any goroutine may call URL.
func (p *Process) URL() string { return "nats://" + address(p.options.Port) }

// Name returns the name of the server.
func (p *Process) Name() string { return p.options.Name }

// StoreDir returns the directory that the streams are in.
func (p *Process) StoreDir() string { return p.options.StoreDir }

// Start starts the process, on the port and with the store directory that it had
// before, and returns when it accepts connections. ctx bounds the start only. A
// process that runs is an error.
func (p *Process) Start(ctx context.Context) error {
	if p.Running() {
		return errors.New("start nats-server: it runs already")
	}
	if p.options.Port != 0 {
		return p.startOn(ctx, p.options.Port)
	}
	var failed error
	for range startAttempts {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		if failed = p.startOn(ctx, port); failed == nil {
			p.options.Port = port
			return nil
		}
	}
	return failed
}

// Kill ends the process at once (SIGKILL), stopped or not, and returns when it is
// gone. It does nothing to a process that does not run.
func (p *Process) Kill() error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.exited
	return nil
}

// Stop asks the process to end (SIGTERM) and returns when it is gone. One that does not
// end in time is killed: the error wraps ErrKilled and has the stacks of its goroutines.
func (p *Process) Stop() error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if p.ends() {
		return nil
	}
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	_ = p.ends() // One that is stopped writes nothing.
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("stop nats-server: %w after %v, its log:\n%s", ErrKilled, p.options.StopTimeout, p.stacks())
}

// stacks returns the log from where the process wrote its stacks.
func (p *Process) stacks() []byte {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	_, stacks, _ := bytes.Cut(log[p.logged:], []byte("SIGQUIT: quit"))
	return stacks
}

// ends reports whether the process ends in time.
func (p *Process) ends() bool {
	bound := time.NewTimer(p.options.StopTimeout)
	defer bound.Stop()
	select {
	case <-p.exited:
		return true
	case <-bound.C:
		return false
	}
}

// Restart is Kill and Start.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Kill(); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Signal sends signal to the process, such as syscall.SIGSTOP and syscall.SIGCONT.
func (p *Process) Signal(signal os.Signal) error {
	if !p.Running() {
		return fmt.Errorf("send %v to nats-server: %w", signal, os.ErrProcessDone)
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to nats-server: %w", signal, err)
	}
	return nil
}

// Running reports whether the process runs, stopped or not.
func (p *Process) Running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Logged reports whether the server has logged text since it was last started.
func (p *Process) Logged(text string) (bool, error) {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return false, fmt.Errorf("read the log of nats-server: %w", err)
	}
	return bytes.Contains(log[p.logged:], []byte(text)), nil
}

func (p *Process) cleanUp(tb testing.TB) {
	tb.Helper()
	if err := p.Kill(); err != nil {
		tb.Error(err)
	}
	if tb.Failed() {
		tb.Logf("log of nats-server %s:\n%s", p.options.Name, p.logTail())
	}
}
