package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

var fencedOnce = regexp.MustCompile(`presence_router_fenced_total{partition="\d"} 1\n`)

var httpAddress = regexp.MustCompile(`msg="serving HTTP" address=(\S+)`)

// get asks the HTTP server of a worker.
func get(tb testing.TB, p *process, path string) (int, string) {
	tb.Helper()
	address := httpAddress.FindStringSubmatch(p.await(p.stderr, "serving HTTP"))[1]
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // It was only read.
	body, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// awaitMetric waits until /metrics holds text.
func awaitMetric(tb testing.TB, p *process, text string) string {
	tb.Helper()
	var metrics string
	eventually(tb, func() error {
		if _, metrics = get(tb, p, "/metrics"); !strings.Contains(metrics, text) {
			return fmt.Errorf("/metrics lacks %s", text)
		}
		return nil
	})
	return metrics
}

const bobIsOnline = `{"user_id":"@bob:example.com","state":"online"}`

func TestRunStopsAtSIGTERM(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			env, p := withWorker(t, routed)
			js := jetStream(t, urlOf(env))
			expect(t, 0, "", env, "publish", captureFile)
			p.signal(signal)
			if got := p.code(); got != 0 {
				t.Fatalf("run ends with %d after %v, want 0", got, signal)
			}
			// Where it stopped, the next one goes on: nothing is lost or repeated.
			startWorker(t, env)
			bobs := 0
			for _, user := range capturedUsers(t) {
				if user == "@bob:example.com" {
					bobs++
				}
			}
			eventually(t, func() error {
				if got := deliveredTo(t, js, "example%2Ecom.alice"); len(got) < bobs {
					return fmt.Errorf("delivered are updates %v, want %d", got, bobs)
				}
				return nil
			})
			got := deliveredTo(t, js, "example%2Ecom.alice")
			if len(got) != bobs || !slices.IsSorted(got) || len(slices.Compact(got)) != bobs {
				t.Errorf("delivered are updates %v, want %d, each once and in order", got, bobs)
			}
		})
	}
}

func TestRunExitsAtTheSecondSignal(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	between := startProxy(t, urlOf(env))
	env = append(env, "ROUTER_WORKER_NATS_URL="+between.url,
		"ROUTER_WORKER_WORKER_CHECKPOINT_INTERVAL=1m", "ROUTER_WORKER_WORKER_STOP_TIMEOUT=10m")
	p := startWorker(t, env)
	publishRaw(t, jetStream(t, urlOf(env)), "presence.update.example%2Ecom.bob", bobIsOnline, nil)
	awaitMetric(t, p, `presence_router_updates_total{`)
	between.freeze() // the position that is left to commit gets nowhere
	p.signal(syscall.SIGTERM)
	p.await(p.stderr, "msg=stopping")
	if code, body := get(t, p, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a worker that stops answers %d: %s", code, body)
	}
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 1 { // long before worker.stop_timeout
		t.Errorf("run ends with %d after the second signal, want 1 at once", got)
	}
}

func TestRunStopsWithinItsBound(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	between := startProxy(t, urlOf(env))
	env = append(env, "ROUTER_WORKER_NATS_URL="+between.url,
		"ROUTER_WORKER_WORKER_CHECKPOINT_INTERVAL=1m", "ROUTER_WORKER_WORKER_STOP_TIMEOUT=300ms")
	p := startWorker(t, env)
	publishRaw(t, jetStream(t, urlOf(env)), "presence.update.example%2Ecom.bob", bobIsOnline, nil)
	awaitMetric(t, p, `presence_router_updates_total{`)
	between.freeze()
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 1 || !strings.Contains(p.stderr.String(), "worker.stop_timeout") {
		t.Errorf("run ends with %d, want 1 and the reason", got)
	}
}

func TestRunIsNotReadyWithoutServer(t *testing.T) {
	t.Parallel()
	p := start(t, "", append(natsAt("nats://"+unusedAddress(t)), "ROUTER_WORKER_NATS_CONNECT_TIMEOUT=10m"), "run")
	if code, body := get(t, p, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "NATS") {
		t.Errorf("/readyz answers %d: %q, want that it connects to NATS", code, body)
	}
}

func TestRunWithoutServer(t *testing.T) {
	t.Parallel()
	env := append(natsAt("nats://user:secret@"+unusedAddress(t)), "ROUTER_WORKER_NATS_CONNECT_TIMEOUT=500ms")
	p := start(t, "", env, "run")
	if got := p.code(); got != 1 {
		t.Errorf("run ends with %d, want 1", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, "router-worker: cannot reach NATS: ") || strings.Contains(got, "secret") {
		t.Errorf("run says %q, want that it cannot reach NATS, without the password", got)
	}
}

func TestRunStopsWhileItConnects(t *testing.T) {
	t.Parallel()
	p := start(t, "", natsAt("nats://"+unusedAddress(t)), "run")
	p.await(p.stderr, "connecting to NATS")
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("run ends with %d, want 0", got)
	}
}

func TestRunReportsWhatItCannotUse(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	tests := []struct {
		name string
		env  string
		code int
		want string
	}{
		{"address that is taken", "ROUTER_WORKER_HTTP_LISTEN=" + listener(t), 1, "http.listen"},
		{"credentials that are missing", "ROUTER_WORKER_NATS_CREDENTIALS=/nonexistent", 2, "nats.credentials: open /nonexistent"},
		{"authority that is missing", "ROUTER_WORKER_NATS_TLS_CA=/nonexistent", 2, "nats.tls.ca: open /nonexistent"},
		{"streams that are missing", "ROUTER_WORKER_WORKER_APPLY_TOPOLOGY=false", 1, "topology apply"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, tt.code, "", append(env, tt.env, "ROUTER_WORKER_WORKER_START_TIMEOUT=3s"), "run")
			if got := p.stderr.String(); !strings.Contains(got, tt.want) {
				t.Errorf("run says %q, want %q in it", got, tt.want)
			}
		})
	}
}

func TestRunServesHTTP(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_HTTP_PPROF=true", "ROUTER_WORKER_LOG_FORMAT=text", "ROUTER_WORKER_WORKER_TTL=1m",
		`ROUTER_WORKER_MODULES=[{module: broadcast, config: {users_who_should_receive_all_presence: ["@g:example.com"]}}]`)
	p := startWorker(t, env)
	js := jetStream(t, urlOf(env))
	publishRaw(t, js, "presence.update.example%2Ecom.bob", bobIsOnline, nil)
	publishRaw(t, js, "presence.update.example%2Ecom.bob", "{", nil)
	wantAnswer(t, p, "/readyz", "ready\n")
	fence(t, js)
	eventually(t, func() error {
		if _, metrics := get(t, p, "/metrics"); !fencedOnce.MatchString(metrics) {
			return errors.New("no partition is fenced")
		}
		return nil
	})
	metrics := awaitMetric(t, p, "presence_router_partition_pending")
	for _, want := range []string{
		`presence_router_updates_total{outcome="routed",partition="`,
		`presence_router_updates_total{outcome="dead_letter",partition="`,
		"presence_router_deliveries_total 1\n",
		`presence_router_dead_letters_total{reason="malformed"} 1` + "\n",
		`presence_router_router_duration_seconds_count{router="broadcast"}`,
		"presence_router_commit_duration_seconds_count ",
		"presence_router_commit_messages_count ",
		`presence_router_partition_pending{partition="`,
		"presence_router_owned_partitions ",
		`presence_router_fenced_total{partition="`,
		"presence_router_end_to_end_seconds_count ",
		"go_goroutines ",
		`service_name="presence-router"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, unwanted := range []string{"otel_scope", "@bob", "_total_total", "_seconds_seconds"} {
		if strings.Contains(metrics, unwanted) {
			t.Errorf("/metrics holds %s", unwanted)
		}
	}
	awaitAnswer(t, p, "/readyz", http.StatusServiceUnavailable, "1 partition of this worker's share is not claimed yet\n")
	wantAnswer(t, p, "/healthz", "alive\n")
	wantAnswer(t, p, "/debug/pprof/", "goroutine")
}

// awaitAnswer waits until the HTTP server answers so.
func awaitAnswer(t *testing.T, p *process, path string, status int, want string) {
	t.Helper()
	eventually(t, func() error {
		if code, body := get(t, p, path); code != status || !strings.Contains(body, want) {
			return fmt.Errorf("%s answers %d: %q, want %d and %q", path, code, body, status, want)
		}
		return nil
	})
}

func wantAnswer(t *testing.T, p *process, path, want string) {
	t.Helper()
	if code, body := get(t, p, path); code != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("%s answers %d: %q, want 200 and %q", path, code, body, want)
	}
}

func TestCountersExistFromTheStart(t *testing.T) {
	t.Parallel()
	_, p := withWorker(t, routed)
	_, metrics := get(t, p, "/metrics")
	for _, want := range []string{
		`presence_router_dead_letters_total{reason="malformed"} 0`, `presence_router_dead_letters_total{reason="router_failed"} 0`,
		`presence_router_fenced_total{partition="0"} 0`, `presence_router_fenced_total{partition="3"} 0`,
		`presence_router_updates_total{outcome="routed",partition="0"} 0`, `presence_router_updates_total{outcome="dead_letter",partition="3"} 0`,
		`presence_router_router_errors_total{kind="error",router="static"} 0`, `presence_router_router_errors_total{kind="timeout",router="static"} 0`,
		`presence_router_queries_total{code="200",query="current_states"} 0`, `presence_router_queries_total{code="503",query="interested_users"} 0`,
		"presence_router_deliveries_total 0", "presence_router_replayed_deliveries_total 0",
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestRunServesNoProfilesUnasked(t *testing.T) {
	t.Parallel()
	_, p := withWorker(t, "[]")
	if code, _ := get(t, p, "/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("/debug/pprof/ answers %d, want 404", code)
	}
}

func TestRunWithoutHTTP(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_HTTP_LISTEN=", "ROUTER_WORKER_LOG_FORMAT=json")
	p := start(t, "", env, "run")
	p.await(p.stderr, `"msg":"claimed the partitions"`)
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 || strings.Contains(p.stderr.String(), "serving HTTP") {
		t.Errorf("run ends with %d, want 0 and no HTTP server", got)
	}
}

// fence writes the checkpoint of the partition of @bob as another worker would,
// and an update that brings that to light.
func fence(tb testing.TB, js jetstream.JetStream) {
	tb.Helper()
	stream, err := js.Stream(tb.Context(), "PRESENCE_UPDATES")
	if err != nil {
		tb.Fatal(err)
	}
	last, err := stream.GetLastMsgForSubject(tb.Context(), "presence.update.*.example%2Ecom.bob")
	if err != nil {
		tb.Fatal(err)
	}
	partition := strings.Split(last.Subject, ".")[2]
	deliveries, err := js.Stream(tb.Context(), "PRESENCE_DELIVERIES")
	if err != nil {
		tb.Fatal(err)
	}
	subject := "presence.checkpoint." + partition
	eventually(tb, func() error {
		checkpoint, err := deliveries.GetLastMsgForSubject(tb.Context(), subject)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf(`"sequence":%d,`, last.Sequence); !strings.Contains(string(checkpoint.Data), want) {
			return fmt.Errorf("checkpoint is %s, want %s", checkpoint.Data, want)
		}
		other := regexp.MustCompile(`"(worker|commit)":"[^"]*"`).ReplaceAllString(string(checkpoint.Data), `"$1":"another"`)
		publishRaw(tb, js, subject, other, nats.Header{"Nats-Rollup": {"sub"}, "Nats-TTL": {"never"}})
		return nil
	})
	publishRaw(tb, js, "presence.update.example%2Ecom.bob", bobIsOnline, nil)
}

// listener returns an address that is taken.
func listener(tb testing.TB) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// unusedAddress returns an address that nothing listens on: that of a server which
// is gone.
func unusedAddress(tb testing.TB) string {
	tb.Helper()
	s := natstest.Run(tb)
	s.Shutdown()
	return strings.TrimPrefix(s.URL(), "nats://")
}
