package main_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestClientsExplainWhatIsWrong(t *testing.T) {
	t.Parallel()
	withoutStreams := natstest.Run(t).URL()
	withoutJetStream := runServer(t, &server.Options{})
	guarded := runServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{
		{Username: "admin", Password: "secret"},
		{Username: "reader", Password: "secret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"$JS.API.STREAM.INFO.>"}},
		}},
	}})
	as := func(user string) string { return strings.Replace(guarded, "nats://", "nats://"+user+":secret@", 1) }
	expect(t, 0, "", natsAt(as("admin")), "topology", "apply")
	denied := "permission denied: the NATS server does not let this user do what the command needs: nats: permissions violation: Permissions Violation for Publish to "
	commands := []string{"topology plan", "deliveries --count 1", "publish " + captureFile, "dead list"}
	tests := []struct {
		name     string
		url      string
		commands []string
		want     string
	}{
		{"nobody there", "nats://" + unusedAddress(t), commands[:1], "cannot reach NATS: connect to NATS at nats://"},
		{"refused", "nats://" + unusedAddress(t), commands[:1], "nats: no servers available for connection: connection refused"},
		{"no JetStream", withoutJetStream, []string{commands[0], commands[1], commands[3]}, "has no JetStream"},
		{"no streams", withoutStreams, []string{commands[1], commands[3]}, "router-worker topology apply"},
		{"unknown user", as("other"), commands, "permission denied: connect to NATS at nats://127.0.0.1"},
		{"follower without permission", as("reader"), commands[1:2], denied + `"$JS.API.CONSUMER.`},
		{"publisher without permission", as("reader"), commands[2:3], denied + `"presence.update.`},
		{"old server", oldServer(t), commands[:1], "nats-server is too old: "},
	}
	for _, tt := range tests {
		for _, command := range tt.commands {
			t.Run(tt.name+"/"+command, func(t *testing.T) {
				t.Parallel()
				p := expect(t, 1, "", natsAt(tt.url), strings.Fields(command)...)
				if got := p.stderr.String(); !strings.Contains(strings.ToLower(got), strings.ToLower(tt.want)) || strings.Contains(got, "secret") {
					t.Errorf("%s says %q, want %q in it", command, got, tt.want)
				}
			})
		}
	}
}

func TestPublishWithoutStreamSaysSo(t *testing.T) {
	t.Parallel()
	p := start(t, bobIsOnline, natsAt(natstest.Run(t).URL()), "publish", "--json")
	if got := p.code(); got != 1 || !strings.Contains(p.stderr.String(), "router-worker topology apply") {
		t.Errorf("publish ends with %d, want 1 and what to do", got)
	}
	if got := summaryOf(t, p); got != (publishSummary{Unacknowledged: 1}) {
		t.Errorf("publish says %+v, want one update without an answer", got)
	}
}

func runServer(tb testing.TB, options *server.Options) string {
	tb.Helper()
	options.Host, options.Port, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	s, err := server.NewServer(options)
	if err != nil {
		tb.Fatal(err)
	}
	go s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(bound) {
		tb.Fatal("nats-server does not get ready")
	}
	return s.ClientURL()
}

// oldServer greets as a nats-server does that has no atomic batches.
func oldServer(tb testing.TB) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go greet(conn)
		}
	}()
	return "nats://" + l.Addr().String()
}

func greet(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // The client is gone.
	_ = conn.SetDeadline(time.Now().Add(bound))
	_, _ = fmt.Fprint(conn, `INFO {"server_id":"old","version":"2.10.9","max_payload":1048576,"headers":true}`+"\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "PING") {
			_, _ = fmt.Fprint(conn, "PONG\r\n")
		}
	}
}
