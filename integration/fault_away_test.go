package integration_test

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
)

// TestFaultServerAway has the server go away in mid-run and come back.
func TestFaultServerAway(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	outage := 6 * time.Second
	if e.full() {
		outage = time.Minute
	}
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l)
	worker := d.startReady()
	published := l.updates(4_000)
	publishing := d.publishing(published, time.Second)
	<-randomMoment(l.numbers, 400*time.Millisecond, 1)
	if err := d.server.Kill(); err != nil {
		t.Fatal(err)
	}
	lines, used := worker.log.count(), worker.cpu()
	<-time.After(outage)
	if wrote := worker.log.count() - lines; wrote > 6 {
		t.Errorf("the worker wrote %d lines in an outage of %v, want a few", wrote, outage)
	}
	if spent := worker.cpu() - used; spent > outage/20 {
		t.Errorf("the worker took %v of CPU time in an outage of %v", spent, outage)
	}
	if err := d.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(25)
	d.collect(0).verify(t, integration.Check, published)
}

// TestFaultServerFrozen stops the server process for longer than a commit waits,
// with commits in flight: their outcome is unknown, and they land late.
func TestFaultServerFrozen(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	freezes := e.count(5, 20)
	l := newLoad(e.numbers(t), 500, 3)
	d := deploy(t, l, settings{"WORKER_COMMIT_TIMEOUT": "200ms"})
	worker := d.startReady()
	checkpoints := d.watch(ignore)
	published := l.updates(e.count(8_000, 40_000))
	window := e.window(4*time.Second, 10)
	publishing := d.publishing(published, window)
	for range freezes {
		<-randomMoment(l.numbers, window/2, freezes)
		if err := d.server.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		<-time.After(300*time.Millisecond + time.Duration(l.numbers.IntN(300))*time.Millisecond)
		if err := d.server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	<-publishing
	d.awaitCommitted()
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(12 + 6*freezes) // heartbeats, commits and reading: each stops, and goes on
	worker.wantLines(0, "went back")
	c := d.collect(0)
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// TestFaultServerNotThereAtStart wants a clear end after the configured time, and
// a start as soon as the server is there.
func TestFaultServerNotThereAtStart(t *testing.T) {
	t.Parallel()
	server := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer})
	d := deployOn(t, server, newLoad(newEffort(t).numbers(t), 10, 2), settings{"NATS_CONNECT_TIMEOUT": "2s"})
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	gaveUp := d.start()
	gaveUp.awaitExit(1)
	gaveUp.wantLines(1, "router-worker: cannot reach NATS: connect to NATS at "+server.URL())
	gaveUp.wantLines(1, "(tried for 2s)")
	gaveUp.wantAtMost(6)

	patient := d.start(settings{"NATS_CONNECT_TIMEOUT": "2m"})
	patient.awaitLog("waiting, nothing is lost")
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	patient.awaitReady()
	patient.terminate(syscall.SIGTERM)
}

// TestFaultUnfitServer starts a worker on servers that it cannot work with: it
// ends with 1 and says what is wrong.
func TestFaultUnfitServer(t *testing.T) {
	t.Parallel()
	const account = `{users: [{user: u, password: p}]%s}`
	tests := []struct {
		name     string
		config   string // of the server
		settings settings
		prepare  func(t *testing.T, js jetstream.JetStream)
		want     string // in the last words
	}{
		{
			name:     "no JetStream",
			config:   "accounts: {A: {users: [{user: u, password: p}]}, S: {users: [{user: s, password: s}]}}\nsystem_account: S",
			settings: settings{"WORKER_START_TIMEOUT": "3s"},
			want:     "has no JetStream",
		},
		{
			name:     "wrong password",
			config:   "authorization: {user: other, password: p}",
			settings: settings{"NATS_CONNECT_TIMEOUT": "30s"},
			want:     "permission denied",
		},
		{
			name:     "no permission for the API",
			config:   `authorization: {users: [{user: u, password: p, permissions: {publish: {deny: "$JS.API.>"}}}]}`,
			settings: settings{"WORKER_START_TIMEOUT": "3s"},
			want:     "permission denied",
		},
		{
			name:     "no permission for checkpoints",
			config:   `authorization: {users: [{user: u, password: p, permissions: {publish: {deny: "presence.checkpoint.*"}}}]}`,
			settings: settings{"WORKER_START_TIMEOUT": "3s"},
			want:     "permission denied",
		},
		{
			name:     "no permission to say heartbeats",
			config:   `authorization: {users: [{user: u, password: p, permissions: {publish: {deny: "$KV.>"}}}]}`,
			settings: settings{"WORKER_START_TIMEOUT": "3s"},
			want:     "permission denied",
		},
		{
			name:     "no permission to hear heartbeats",
			config:   `authorization: {users: [{user: u, password: p, permissions: {subscribe: {deny: "$KV.>"}}}]}`,
			settings: settings{"WORKER_START_TIMEOUT": "3s"},
			want:     "permission denied",
		},
		{
			name:     "streams are missing",
			config:   "accounts: {A: " + strings.ReplaceAll(account, "%s", ", jetstream: enabled") + "}",
			settings: settings{"WORKER_START_TIMEOUT": "3s", "WORKER_APPLY_TOPOLOGY": "false"},
			want:     "stream PRESENCE_UPDATES is missing",
		},
		{
			name:   "a stream with another retention",
			config: "authorization: {user: u, password: p}",
			prepare: func(t *testing.T, js jetstream.JetStream) {
				t.Helper()
				makeStream(t, js, jetstream.StreamConfig{
					Name: "PRESENCE_DELIVERIES", Retention: jetstream.WorkQueuePolicy,
					Subjects: []string{"presence.checkpoint.*", "presence.dead.*", "presence.deliver.>"},
				})
			},
			want: "stream PRESENCE_DELIVERIES: retention is workqueue, configured is limits",
		},
		{
			name:   "a stream with other subjects",
			config: "authorization: {user: u, password: p}",
			prepare: func(t *testing.T, js jetstream.JetStream) {
				t.Helper()
				makeStream(t, js, jetstream.StreamConfig{Name: "PRESENCE_UPDATES", Subjects: []string{"presence.update.*"}})
			},
			want: "stream PRESENCE_UPDATES: subjects is presence.update.*, configured is presence.update.*.*",
		},
		{
			name:     "small messages",
			config:   "max_payload: 65536\nauthorization: {user: u, password: p}",
			settings: settings{},
			want:     "max_payload is 65536",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer, Config: tt.config})
			url := strings.Replace(server.URL(), "nats://", "nats://u:p@", 1)
			if tt.prepare != nil {
				tt.prepare(t, natstest.JetStream(t, natstest.Connect(t, url)))
			}
			d := configure(t, url, newLoad(newEffort(t).numbers(t), 10, 2), tt.settings)
			w := d.start()
			w.awaitExit(1)
			w.wantLines(1, "router-worker: ")
			w.wantLastWords(tt.want)
			w.wantAtMost(16)
		})
	}
}

func makeStream(t *testing.T, js jetstream.JetStream, config jetstream.StreamConfig) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// TestFaultOldServer has a proxy rewrite the version that the server greets with.
func TestFaultOldServer(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.11.9", "2.10.0-beta.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer})
			url := pretend(t, server.URL(), version)
			w := configure(t, url, newLoad(newEffort(t).numbers(t), 10, 2)).start()
			w.awaitExit(1)
			w.wantLines(1, "router-worker: nats-server is too old")
			w.wantLastWords("has version " + version + ", 2.12.0 or newer is needed")
		})
	}
}

// wantLastWords wants text in what the process wrote at its end.
func (w *workerProcess) wantLastWords(text string) {
	w.t.Helper()
	_, words, found := strings.Cut(w.log.String(), "router-worker: ")
	if !found || !strings.Contains(words, text) {
		w.t.Errorf("worker %s ended with %q, want %q in it", w.id, words, text)
	}
}

// pretend returns the URL of a proxy of the server at url that changes the version in what
// the server says of itself, at first and later.
func pretend(t *testing.T, url, version string) string {
	t.Helper()
	said := regexp.MustCompile(`"version":"[^"]*"`)
	proxy := &natstest.Proxy{FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
		return said.ReplaceAll(frame, []byte(`"version":"`+version+`"`)), natstest.Pass
	}}
	return proxy.Start(t, url)
}
