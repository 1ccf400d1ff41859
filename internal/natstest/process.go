package natstest

import (
	"bytes"
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
	processStopTimeout  = time.Minute
)

// ProcessOptions says how a nats-server process runs. Binary is required.
type ProcessOptions struct {
	Binary       string        // as BuildBinary returns it
	Name         string        // made up where empty
	Port         int           // a free port where 0
	StoreDir     string        // a directory of the test where empty
	MaxFileStore int64         // bytes that streams may reserve; three quarters of the disk where 0
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

// Stop asks the process to end (SIGTERM) and returns when it is gone. One that
// takes too long is killed, which is an error that holds the stacks of its goroutines.
func (p *Process) Stop() error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	bound := time.NewTimer(processStopTimeout)
	defer bound.Stop()
	select {
	case <-p.exited:
		return nil
	case <-bound.C:
		stacks, err := p.stacks()
		return errors.Join(fmt.Errorf("stop nats-server: it runs on after %v, with these goroutines:\n%s", processStopTimeout, stacks), err, p.Kill())
	}
}

// stacks ends the process with SIGQUIT and returns what it then logs.
func (p *Process) stacks() ([]byte, error) {
	before, err := os.ReadFile(p.log)
	if err != nil {
		return nil, fmt.Errorf("read the log of nats-server: %w", err)
	}
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return nil, err
	}
	select {
	case <-p.exited:
	case <-time.After(processStopTimeout):
	}
	log, err := os.ReadFile(p.log)
	if err != nil {
		return nil, fmt.Errorf("read the log of nats-server: %w", err)
	}
	return log[len(before):], nil
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
