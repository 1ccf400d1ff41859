package operate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func startTelemetry(t *testing.T) *operate.Telemetry {
	t.Helper()
	telemetry, err := operate.StartTelemetry(t.Context(), config.Telemetry{}, operate.Identity{Version: "v1", Worker: "w"}, nil, discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := telemetry.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return telemetry
}

func TestMetricsOfRouters(t *testing.T) {
	t.Parallel()
	telemetry := startTelemetry(t)
	failing, err := routing.Callbacks{
		UsersForStates: func(context.Context, []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
			return nil, errors.New("broken")
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil },
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	dispatcher, err := routing.NewDispatcher(
		[]routing.Registration{{Name: "failing", Router: failing, Timeout: time.Minute}},
		routing.WithMeterProvider(telemetry.Meters), routing.WithTracerProvider(telemetry.Tracers))
	if err != nil {
		t.Fatal(err)
	}
	dispatcher.UsersForStates(t.Context(), []presence.UserState{{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online}})
	metrics := get(t, telemetry.Metrics, "/metrics").Body.String()
	for _, want := range []string{
		`presence_router_router_errors_total{kind="error",router="failing"} 1` + "\n",
		`presence_router_router_duration_seconds_count{router="failing"} 1` + "\n",
		"go_goroutines", `target_info{service_instance_id="w",service_name="presence-router",service_version="v1"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(metrics, "otel_scope") || strings.Contains(metrics, "@bob") {
		t.Errorf("/metrics holds what it is not to hold:\n%s", metrics)
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	var ready operate.Readiness
	handler := operate.Handler(config.HTTP{}, &ready, metrics)
	tests := []struct {
		name, path string
		set        func()
		code       int
		body       string
	}{
		{"alive", "/healthz", func() {}, 200, "alive\n"},
		{"not said yet", "/readyz", func() {}, 503, "not ready: starting\n"},
		{"waiting", "/readyz", func() { ready.Waiting("connecting to NATS") }, 503, "not ready: connecting to NATS\n"},
		{"not ready", "/readyz", func() { ready.Set(func() error { return errors.New("no partitions") }) }, 503, "not ready: no partitions\n"},
		{"ready", "/readyz", func() { ready.Set(func() error { return nil }) }, 200, "ready\n"},
		{"metrics", "/metrics", func() {}, 200, "metrics"},
		{"no profiles", "/debug/pprof/", func() {}, 404, "404 page not found\n"},
	}
	for _, tt := range tests {
		tt.set()
		if got := get(t, handler, tt.path); got.Code != tt.code || got.Body.String() != tt.body {
			t.Errorf("%s: %s answers %d %q, want %d %q", tt.name, tt.path, got.Code, got.Body, tt.code, tt.body)
		}
	}
}

func get(t *testing.T, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestProfilesAnswerOwnAddressesOnly(t *testing.T) {
	t.Parallel()
	handler := operate.Handler(config.HTTP{Listen: "worker.internal:8080", PProf: true}, new(operate.Readiness), http.NotFoundHandler())
	tests := []struct {
		host string
		code int
	}{
		{"localhost:8080", 200},
		{"127.0.0.1:8080", 200},
		{"127.3.2.1", 200},
		{"[::1]:8080", 200},
		{"[::1]", 200},
		{"worker.internal:8080", 200},
		{"WORKER.internal", 200},
		{"10.1.2.3:8080", 200}, // where the connection leads
		{"10.1.2.4:8080", 403},
		{"rebound.example.org:8080", 403},
		{"localhost.example.org", 403},
		{"", 403},
	}
	for _, tt := range tests {
		reached := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 8080})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline"} {
			r := httptest.NewRequestWithContext(reached, http.MethodGet, path, nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != tt.code {
				t.Errorf("%s for Host %q answers %d %q, want %d", path, tt.host, w.Code, w.Body, tt.code)
			}
		}
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config config.Log
		want   string
	}{
		{"text", config.Log{Level: config.Warn, Format: config.Text}, "level=WARN msg=two after=35ms\n"},
		{"json", config.Log{Level: config.Warn, Format: config.JSON}, `"level":"WARN","msg":"two","after":"35ms"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log := operate.NewLogger(&out, tt.config)
			log.Info("one")
			log.Warn("two", "after", 35*time.Millisecond)
			if got := out.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, tt.want) {
				t.Errorf("the log holds %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCredentialsAreAJWTOrASeed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := file + ": it holds neither a JWT nor the seed of a user's nkey"
	_, err := operate.ConnectOptions(config.NATS{Credentials: file})
	if err == nil || err.Error() != "nats.credentials: read "+want {
		t.Errorf("ConnectOptions() = %v, want that the file %s", err, want)
	}
	_, err = operate.QueryConnectOptions(config.NATS{Queries: config.NATSQueries{Credentials: file}})
	if err == nil || err.Error() != "nats.queries.credentials: read "+want {
		t.Errorf("QueryConnectOptions() = %v, want that the file %s", err, want)
	}
}

func TestConnectOptionsReadTheFiles(t *testing.T) {
	t.Parallel()
	_, err := operate.ConnectOptions(config.NATS{
		Credentials: "/nonexistent/user.creds",
		TLS:         config.TLS{CA: "/nonexistent/ca.pem", Cert: "/nonexistent/cert.pem", Key: "/nonexistent/key.pem"},
	})
	want := []string{
		"nats.credentials: open /nonexistent/user.creds: no such file or directory",
		"nats.tls.ca: open /nonexistent/ca.pem: no such file or directory",
		"nats.tls.cert: open /nonexistent/cert.pem: no such file or directory",
		"nats.tls.key: open /nonexistent/key.pem: no such file or directory",
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("ConnectOptions() = %v, want %v", err, want)
	}
}
