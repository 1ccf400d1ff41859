package natstest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestProcessEndsAndComesBack(t *testing.T) {
	t.Parallel()
	binary := build(t)
	t.Run("restart after kill keeps streams and clients", func(t *testing.T) {
		t.Parallel()
		p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binary})
		reconnected := make(chan struct{}, 1)
		nc := natstest.Connect(t, p.URL(), nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }))
		publish(t, nc)
		url := p.URL()
		if err := p.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p.URL() != url {
			t.Errorf("URL is %s, want %s as before", p.URL(), url)
		}
		await(t, reconnected, "reconnect")
		wantOneMessage(t, nc)
	})
	t.Run("stop and start", func(t *testing.T) {
		t.Parallel()
		p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binary, SyncInterval: time.Second})
		if err := p.Start(t.Context()); err == nil {
			t.Errorf("a second start gives no error")
		}
		publish(t, natstest.Connect(t, p.URL(), nats.NoReconnect()))
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		if nc, err := nats.Connect(p.URL()); err == nil {
			nc.Close()
			t.Errorf("%s still accepts connections", p.URL())
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantOneMessage(t, natstest.Connect(t, p.URL()))
	})
	t.Run("stopped process is killed", func(t *testing.T) {
		t.Parallel()
		p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binary})
		nc := natstest.Connect(t, p.URL())
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		awaitSilence(t, nc)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestProcessStart(t *testing.T) {
	t.Parallel()
	binary := build(t)
	t.Run("configuration is appended", func(t *testing.T) {
		t.Parallel()
		config := `authorization { user: u, password: p }`
		p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binary, Config: config})
		if nc, err := nats.Connect(p.URL(), nats.Timeout(eventTimeout)); !errors.Is(err, nats.ErrAuthorization) {
			nc.Close()
			t.Errorf("connect without a password: %v, want %v", err, nats.ErrAuthorization)
		}
		natstest.Connect(t, p.URL(), nats.UserInfo("u", "p"))
	})
	t.Run("configuration is faulty", func(t *testing.T) {
		t.Parallel()
		p := natstest.NewProcess(t, natstest.ProcessOptions{Binary: binary, Config: "no_such_setting: 1"})
		if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
			t.Errorf("Start = %v, want the server's complaint about no_such_setting", err)
		}
	})
	t.Run("port is another server's", func(t *testing.T) {
		t.Parallel()
		port := natstest.Run(t).Options().Port
		p := natstest.NewProcess(t, natstest.ProcessOptions{Binary: binary, Port: port})
		if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("Start = %v, want address already in use", err)
		}
	})
}

func TestProcessOfNoBinary(t *testing.T) {
	t.Parallel()
	p := natstest.NewProcess(t, natstest.ProcessOptions{Binary: filepath.Join(t.TempDir(), "none")})
	if err := p.Start(t.Context()); err == nil {
		t.Errorf("Start without a binary gives no error")
	}
	if err := p.Signal(syscall.SIGSTOP); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal = %v, want %v", err, os.ErrProcessDone)
	}
	if err := errors.Join(p.Kill(), p.Stop()); err != nil {
		t.Errorf("Kill and Stop of what does not run: %v", err)
	}
}

// awaitSilence asks the server until an answer stays out. A signal takes effect some
// time after it was sent: until then the server may well answer.
func awaitSilence(t *testing.T, nc *nats.Conn) {
	t.Helper()
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); {
		if _, err := nc.Request("$JS.API.INFO", nil, 200*time.Millisecond); err != nil {
			return
		}
	}
	t.Errorf("a stopped server still answers after %v", eventTimeout)
}

func build(t *testing.T) string {
	t.Helper()
	binary, err := natstest.BuildBinary(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// A process that does not end when it is asked to is killed.
func TestStopKills(t *testing.T) {
	t.Parallel()
	p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: build(t), StopTimeout: 50 * time.Millisecond})
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); !errors.Is(err, natstest.ErrKilled) {
		t.Errorf("Stop = %v, want %v", err, natstest.ErrKilled)
	}
	if p.Running() {
		t.Error("the process runs on")
	}
}
