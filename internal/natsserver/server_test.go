package natsserver_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
)

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

func TestStartServesJetStreamOnAFreePort(t *testing.T) {
	t.Parallel()
	s := start(t, natsserver.Options{StoreDir: t.TempDir(), Name: "alpha"})
	other := start(t, natsserver.Options{StoreDir: t.TempDir()})
	if s.URL() == other.URL() {
		t.Fatalf("two servers have the URL %s", s.URL())
	}
	nc := natstest.Connect(t, s.URL())
	if got := nc.ConnectedServerName(); got != "alpha" {
		t.Errorf("server name is %q, want %q", got, "alpha")
	}
	if _, err := natstest.JetStream(t, nc).AccountInfo(t.Context()); err != nil {
		t.Errorf("ask for account: %v", err)
	}
}

func TestStartAppliesLimits(t *testing.T) {
	t.Parallel()
	s := start(t, natsserver.Options{StoreDir: t.TempDir(), MaxPayload: 2 << 20, MaxMemory: 1 << 20, MaxStore: 2 << 20})
	nc := natstest.Connect(t, s.URL())
	if got := nc.MaxPayload(); got != 2<<20 {
		t.Errorf("largest message is %d bytes, want %d", got, 2<<20)
	}
	js := natstest.JetStream(t, nc)
	for storage, bytes := range map[jetstream.StorageType]int64{jetstream.MemoryStorage: 1 << 20, jetstream.FileStorage: 2 << 20} {
		config := jetstream.StreamConfig{Name: "S" + storage.String(), Storage: storage, MaxBytes: bytes + 1}
		if _, err := js.CreateStream(t.Context(), config); err == nil {
			t.Errorf("a %v stream of %d bytes is accepted, want it refused", storage, bytes+1)
		}
	}
}

func TestStartWithTheSameOptionsBringsStreamsBack(t *testing.T) {
	t.Parallel()
	first := start(t, natsserver.Options{StoreDir: t.TempDir()})
	js := natstest.JetStream(t, natstest.Connect(t, first.URL()))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	if _, err := js.Publish(t.Context(), "kept", []byte("x")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	first.Shutdown()

	second := start(t, first.Options())
	if second.URL() != first.URL() {
		t.Errorf("URL is %s, want %s as before", second.URL(), first.URL())
	}
	stream, err := natstest.JetStream(t, natstest.Connect(t, second.URL())).Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("stream has %d messages, want 1", got)
	}
}

func TestStartSaysWhyNot(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer listener.Close() //nolint:errcheck // Nothing was written.
	taken, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("address is %v, want a TCP address", listener.Addr())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatalf("write file: %v", err)
	}
	tests := []struct {
		name    string
		options natsserver.Options
		want    string
	}{
		{name: "port is taken", options: natsserver.Options{StoreDir: t.TempDir(), Port: taken.Port}, want: "address already in use"},
		{name: "store is a file", options: natsserver.Options{StoreDir: file}, want: file},
		{name: "no store", options: natsserver.Options{}, want: "store_dir"},
		{
			name: "route is no URL",
			options: natsserver.Options{
				StoreDir: t.TempDir(), Name: "n",
				Cluster: natsserver.Cluster{Name: "c", Port: taken.Port, Routes: []string{"nats://%"}},
			},
			want: "parse route",
		},
		{
			name: "cluster port is taken",
			options: natsserver.Options{
				StoreDir: t.TempDir(), Name: "n",
				Cluster: natsserver.Cluster{Name: "c", Port: taken.Port, Routes: []string{"nats://" + taken.String()}},
			},
			want: "address already in use",
		},
		{name: "no time", options: natsserver.Options{StoreDir: t.TempDir(), ReadyTimeout: time.Nanosecond}, want: "not ready after 1ns"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := natsserver.Start(test.options)
			if err == nil {
				s.Shutdown()
				t.Fatalf("Start(%+v) gives no error, want %q", test.options, test.want)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "start nats-server") {
				t.Errorf("Start(%+v) = %q, want %q in it", test.options, err, test.want)
			}
		})
	}
}

func TestStartNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := natsserver.Start(natsserver.Options{Port: -1})
	if got := len(fault.Fields(errors.Unwrap(err))); got != 2 {
		t.Errorf("Start names %d faults, want 2: %v", got, err)
	}
}

func TestShutdownTwice(t *testing.T) {
	t.Parallel()
	s := start(t, natsserver.Options{StoreDir: t.TempDir()})
	s.Shutdown()
	s.Shutdown()
	if nc, err := nats.Connect(s.URL()); err == nil {
		nc.Close()
		t.Errorf("%s still accepts connections", s.URL())
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	s := start(t, natsserver.Options{StoreDir: t.TempDir(), Logger: slog.New(handler)})
	s.Shutdown()
	if !strings.Contains(log.String(), `level=DEBUG msg="nats-server says" text="Server is ready"`) {
		t.Errorf("log is %s, want the line about a ready server", log.String())
	}
}

func start(t *testing.T, options natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}
