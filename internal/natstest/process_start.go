package natstest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

const (
	readyPoll    = 10 * time.Millisecond
	probeTimeout = time.Second
	logTailBytes = 8 << 10
)

func (p *Process) startOn(ctx context.Context, port int) error {
	if err := p.launch(port); err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, processReadyTimeout)
	defer cancel()
	if err := p.awaitReady(ctx, address(port)); err != nil {
		return errors.Join(fmt.Errorf("start nats-server: %w", err), p.Kill())
	}
	return nil
}

// launch starts the process and watches for its end.
func (p *Process) launch(port int) error {
	if err := os.WriteFile(p.config, p.configuration(port), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // The process has its own descriptor.
	if p.logged, err = log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	cmd := exec.Command(p.options.Binary, "-c", p.config) //nolint:gosec,noctx // The test names the binary; the process outlives the call that starts it.
	cmd.Stderr = log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	go func(exited chan<- struct{}) {
		defer close(exited)
		_ = cmd.Wait() // The exit code of a killed process says nothing.
	}(p.exited)
	return nil
}

func (p *Process) configuration(port int) []byte {
	var config bytes.Buffer
	fmt.Fprintf(&config, "server_name: %q\nlisten: %q\n", p.options.Name, address(port))
	fmt.Fprintf(&config, "jetstream {\n  store_dir: %q\n", p.options.StoreDir)
	if p.options.MaxFileStore > 0 {
		fmt.Fprintf(&config, "  max_file_store: %d\n", p.options.MaxFileStore)
	}
	if p.options.SyncInterval > 0 {
		fmt.Fprintf(&config, "  sync_interval: %q\n", p.options.SyncInterval)
	}
	fmt.Fprintf(&config, "}\n%s\n", p.options.Config)
	return config.Bytes()
}

func (p *Process) awaitReady(ctx context.Context, address string) error {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		select {
		case <-p.exited:
			return fmt.Errorf("it ended: %v, log:\n%s", p.cmd.ProcessState, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w, log:\n%s", address, ctx.Err(), p.logTail())
		case <-poll.C:
			if p.ready(ctx, address) == nil {
				return nil
			}
		}
	}
}

// ready reads the greeting that every client gets, which needs no credentials, and
// compares the name in it: the port may be another server's.
func (p *Process) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // Nothing was written.
	if err := conn.SetReadDeadline(time.Now().Add(probeTimeout)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return err
	}
	return p.checkGreeting(line)
}

func (p *Process) checkGreeting(line []byte) error {
	info, found := bytes.CutPrefix(line, []byte("INFO "))
	if !found {
		return errors.New("the greeting is no INFO")
	}
	var greeting struct {
		ServerName string `json:"server_name"`
	}
	if err := json.Unmarshal(info, &greeting); err != nil {
		return fmt.Errorf("decode greeting: %w", err)
	}
	if greeting.ServerName != p.options.Name {
		return fmt.Errorf("the server is %q, want %q", greeting.ServerName, p.options.Name)
	}
	return nil
}

func (p *Process) logTail() []byte {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return log[max(0, len(log)-logTailBytes):]
}
