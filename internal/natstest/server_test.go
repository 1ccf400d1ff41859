package natstest_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
)

const eventTimeout = time.Minute

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

func TestRunAppliesOptions(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t, func(o *natsserver.Options) { o.Name = "alpha" })
	if got := natstest.Connect(t, s.URL()).ConnectedServerName(); got != "alpha" {
		t.Errorf("server name is %q, want %q", got, "alpha")
	}
	if port := s.Options().Port; port < 10000 || port >= 30000 {
		t.Errorf("port is %d, want one that no outgoing connection gets", port)
	}
}

func TestRunEndsWithTheTest(t *testing.T) {
	t.Parallel()
	var url, store string
	t.Run("test with a server", func(t *testing.T) {
		s := natstest.Run(t)
		url, store = s.URL(), s.Options().StoreDir
	})
	if nc, err := nats.Connect(url); err == nil {
		nc.Close()
		t.Errorf("%s still accepts connections", url)
	}
	if _, err := os.Stat(store); !os.IsNotExist(err) {
		t.Errorf("look at %s: %v, want it gone", store, err)
	}
}

func TestRestartKeepsStreamsAndClients(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	reconnected := make(chan struct{}, 1)
	nc := natstest.Connect(t, s.URL(), nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }))
	publish(t, nc)

	restarted := natstest.Restart(t, s)
	if restarted.URL() != s.URL() {
		t.Errorf("URL is %s, want %s as before", restarted.URL(), s.URL())
	}
	await(t, reconnected, "reconnect")
	wantOneMessage(t, nc)
}

// While a server is down, no other test is to be given its port.
func TestPortStaysWithServer(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t)
	s.Shutdown()
	lock, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", strings.TrimPrefix(s.URL(), "nats://"))
	if err == nil {
		_ = lock.Close()
		t.Errorf("the port of %s is not reserved", s.URL())
	}
	natstest.Restart(t, s)
}

func TestLeakedSeesWhatRuns(t *testing.T) {
	t.Parallel()
	running, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go forgotten(running, release, done)
	await(t, running, "goroutine")
	if !contains(natstest.Leaked(time.Millisecond), "natstest_test.forgotten") {
		t.Errorf("Leaked does not see a goroutine that runs")
	}
	close(release)
	await(t, done, "end of the goroutine")
}

func forgotten(running chan<- struct{}, release <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	close(running)
	<-release
}

func contains(stacks []string, function string) bool {
	for _, stack := range stacks {
		if strings.Contains(stack, function) {
			return true
		}
	}
	return false
}

func publish(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js := natstest.JetStream(t, nc)
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}
	if _, err := js.CreateOrUpdateStream(t.Context(), config); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	if _, err := js.Publish(t.Context(), "kept", []byte("x")); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func wantOneMessage(t *testing.T, nc *nats.Conn) {
	t.Helper()
	stream, err := natstest.JetStream(t, nc).Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("stream has %d messages, want 1", got)
	}
}

func await(t *testing.T, event <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(eventTimeout):
		t.Fatalf("no %s within %v", what, eventTimeout)
	}
}
