package stream_test

import (
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
)

// closedPort returns the address of a port that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	s := natstest.Run(t)
	s.Shutdown()
	return strings.TrimPrefix(s.URL(), "nats://")
}

func TestConnectGivesUpWhenContextEnds(t *testing.T) {
	t.Parallel()
	log := newLogs()
	address := closedPort(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := stream.Connect(ctx, "nats://user:secret@"+address+",tls://token@"+address, log.logger())
		failed <- err
	}()
	log.await(t, "waiting, nothing is lost", "connecting to NATS")
	cancel()
	err := await(t, failed, "end of Connect")
	want := "connect to NATS at nats://" + address + ",tls://" + address + ": "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("Connect = %v, want %s and that no server is there", err, want)
	}
	for _, secret := range []string{"secret", "user", "token"} {
		if strings.Contains(err.Error(), secret) || strings.Contains(log.String(), secret) {
			t.Errorf("%q of the URL is in the error or the log: %v\n%s", secret, err, log)
		}
	}
	log.want(t, 1, "level=WARN")
}

func TestConnectWaitsForServer(t *testing.T) {
	t.Parallel()
	log := newLogs()
	down := natstest.Run(t)
	down.Shutdown()
	connected := make(chan *nats.Conn, 1)
	go func() {
		nc, err := stream.Connect(t.Context(), down.URL(), log.logger())
		if err != nil {
			t.Errorf("Connect = %v, want nil", err)
		}
		connected <- nc
	}()
	log.await(t, "waiting, nothing is lost")
	up, err := natsserver.Start(down.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Shutdown)
	if nc := await(t, connected, "connection"); nc != nil {
		nc.Close()
	}
	log.want(t, 1, "going on", "connecting to NATS")
}

func TestConnectEndsAtRefusedCredentials(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	refuse := &proxy{fromClient: func(frame []byte) ([]byte, verdict) { return frame, swallow }}
	refuse.fromServer = func(frame []byte) ([]byte, verdict) {
		return append(frame, "-ERR 'Authorization Violation'\r\n"...), pass
	}
	log := newLogs()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	_, err := stream.Connect(ctx, strings.Replace(startProxy(t, server.URL(), refuse), "://", "://joe:secret@", 1), log.logger())
	if !errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Connect = %v, want %v without the password", err, nats.ErrAuthorization)
	}
	log.want(t, 0, "waiting, nothing is lost")
}

func TestConnectRefusesOldServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		wantErr bool
	}{
		{"2.11.9", true},
		{"1.99.99", true},
		{"2.9.30", true},
		{"two", true},
		{"2.12.0", false},
		{"2.12.0-beta.1", false},
		{"2.100.0", false},
		{"3.0.0", false},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			t.Parallel()
			version := regexp.MustCompile(`"version":"[^"]*"`)
			old := &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
				return version.ReplaceAll(frame, []byte(`"version":"`+tt.version+`"`)), pass
			}}
			url := startProxy(t, natstest.Run(t).URL(), old)
			nc, err := stream.Connect(t.Context(), url, newLogs().logger())
			if nc != nil {
				defer nc.Close()
			}
			if errors.Is(err, stream.ErrServerVersion) != tt.wantErr || (err != nil) != tt.wantErr {
				t.Fatalf("Connect = %v, want an error about the version: %t", err, tt.wantErr)
			}
			if !tt.wantErr {
				return
			}
			if !strings.Contains(err.Error(), "version "+tt.version+", 2.12.0 or newer is needed") {
				t.Errorf("Connect = %v, want both versions named", err)
			}
			if nc != nil && !nc.IsClosed() {
				t.Errorf("the connection is left open")
			}
		})
	}
}

func TestConnectionSurvivesServer(t *testing.T) {
	t.Parallel()
	log := newLogs()
	server := natstest.Run(t)
	nc, err := stream.Connect(t.Context(), server.URL(), log.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for outage := range 3 { // each is told, however soon it follows another
		server.Shutdown()
		told := func(line string) func() bool { return func() bool { return len(log.with(line)) > outage } }
		eventually(t, "line of the end of the connection", told("disconnected from NATS"))
		eventually(t, "notice of the connection", func() bool { return !nc.IsConnected() })
		if err := nc.Publish("x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
			t.Errorf("Publish while disconnected = %v, want that nothing is buffered", err)
		}
		if server, err = natsserver.Start(server.Options()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Shutdown)
		eventually(t, "line of the new connection", told("reconnected to NATS"))
	}
}

func TestConnectTakesOptions(t *testing.T) {
	t.Parallel()
	dialed := make(chan struct{}, 1)
	nc, err := stream.Connect(t.Context(), natstest.Run(t).URL(), newLogs().logger(), nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		dialed <- struct{}{}
		return new(net.Dialer).DialContext(t.Context(), network, address)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	await(t, dialed, "call of the custom dialer")
}

type dialer func(network, address string) (net.Conn, error)

// Dial calls d.
func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }
