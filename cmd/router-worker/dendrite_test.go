package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

const dendriteTopic = "DendriteOutputPresenceEvent"

// dendrited is a deployment whose homeserver is a Dendrite with a NATS of its own.
type dendrited struct {
	env      []string            // of the router's programs
	dendrite jetstream.JetStream // of Dendrite's NATS
	url      string              // of Dendrite's NATS
}

// withDendrite starts a worker that routes bob to alice, and a NATS server with the
// stream that Dendrite makes.
func withDendrite(tb testing.TB) *dendrited {
	tb.Helper()
	d := &dendrited{env: withStreams(tb), url: natstest.Run(tb).URL()}
	d.dendrite = jetStream(tb, d.url)
	d.makeStream(tb)
	startWorker(tb, append(slices.Clone(d.env),
		`ROUTER_WORKER_MODULES=[{module: static, config: {routes: [{recipients: ["@alice:example.com"], users: ["@bob:example.com"]}]}}]`))
	d.env = append(d.env, fmt.Sprintf("ROUTER_WORKER_SOURCES_DENDRITE=[{nats: {url: %q}, server_names: [example.com], ack_wait: 1s}]", d.url))
	return d
}

func (d *dendrited) makeStream(tb testing.TB) {
	tb.Helper()
	_, err := d.dendrite.CreateStream(tb.Context(), jetstream.StreamConfig{
		Name: dendriteTopic, Subjects: []string{dendriteTopic, dendriteTopic + ".>"},
		Retention: jetstream.InterestPolicy, Storage: jetstream.MemoryStorage, MaxAge: 5 * time.Minute,
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// follow starts a source and waits until it is ready.
func (d *dendrited) follow(tb testing.TB) *process {
	tb.Helper()
	return followWith(tb, d.env)
}

func followWith(tb testing.TB, env []string) *process {
	tb.Helper()
	p := start(tb, "", env, "source", "dendrite")
	eventually(tb, func() error {
		if code, body := get(tb, p, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("/readyz answers %d: %s", code, body)
		}
		return nil
	})
	return p
}

// puts has Dendrite publish that bob is in a state and says text.
func (d *dendrited) puts(tb testing.TB, state, text string) {
	tb.Helper()
	putsOn(tb, d.dendrite, state, text)
}

func putsOn(tb testing.TB, js jetstream.JetStream, state, text string) {
	tb.Helper()
	publishRaw(tb, js, dendriteTopic, "", nats.Header{
		"user_id": {"@bob:example.com"}, "presence": {state}, "status_msg": {text}, "last_active_ts": {"1"},
	})
}

// delivered returns what alice was delivered.
func (d *dendrited) delivered(tb testing.TB) (bodies []string) {
	tb.Helper()
	for _, m := range natstest.Stored(tb, jetStream(tb, urlOf(d.env)), "PRESENCE_DELIVERIES", "presence.deliver.local.*.example%2Ecom.alice") {
		bodies = append(bodies, string(m.Data()))
	}
	return bodies
}

func (d *dendrited) awaitDelivered(tb testing.TB, text string) {
	tb.Helper()
	eventually(tb, func() error {
		for _, body := range d.delivered(tb) {
			if strings.Contains(body, text) {
				return nil
			}
		}
		return fmt.Errorf("no delivery says %q", text)
	})
}

func TestSourceDendrite(t *testing.T) {
	t.Parallel()
	d := withDendrite(t)
	p := d.follow(t)
	awaitMetric(t, p, `presence_router_source_active{source="example.com"} 0`+"\n")
	awaitMetric(t, p, `presence_router_source_messages_total{outcome="malformed",source="example.com"} 0`+"\n")
	awaitMetric(t, p, `presence_router_source_lost_messages_total{source="example.com"} 0`+"\n")
	d.puts(t, "online", "lunch ☕")
	d.awaitDelivered(t, `"status_msg":"lunch ☕"`)
	d.puts(t, "unknown", "")
	eventually(t, func() error {
		if got := natstest.Count(t, jetStream(t, urlOf(d.env)), "PRESENCE_DEAD", "presence.dead.invalid_state"); got != 1 {
			return fmt.Errorf("there are %d dead letters, want 1", got)
		}
		return nil
	})
	for _, want := range []string{
		`presence_router_source_messages_total{outcome="published",source="example.com"} 1` + "\n",
		`presence_router_source_messages_total{outcome="invalid",source="example.com"} 1` + "\n",
		`presence_router_source_active{source="example.com"} 1` + "\n", `presence_router_source_pending{source="example.com"} 0` + "\n",
		`presence_router_source_delay_seconds_count{source="example.com"} 2` + "\n",
	} {
		awaitMetric(t, p, want)
	}
	wantAnswer(t, p, "/healthz", "alive\n")
	stop(t, p)
}

// One of two sources publishes. If it is killed, the other one takes over.
func TestSourceDendriteStandsBy(t *testing.T) {
	t.Parallel()
	d := withDendrite(t)
	first := d.follow(t)
	d.puts(t, "online", "0")
	d.awaitDelivered(t, `"status_msg":"0"`)
	second := d.follow(t)
	for i := 1; i <= 20; i++ {
		if i == 10 {
			first.signal(syscall.SIGKILL)
		}
		d.puts(t, "online", strconv.Itoa(i))
	}
	d.awaitDelivered(t, `"status_msg":"20"`)
	all := strings.Join(d.delivered(t), "\n")
	last := -1
	for i := range 21 {
		text := fmt.Sprintf(`"status_msg":"%d"`, i)
		if at := strings.Index(all, text); at <= last || strings.Count(all, text) != 1 {
			t.Errorf("deliveries are\n%s\nwant each update once and in order", all)
			break
		}
		last = strings.Index(all, text)
	}
	awaitMetric(t, second, `presence_router_source_active{source="example.com"} 1`+"\n")
}

// The readiness of a source says what it waits for.
func TestSourceDendriteSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	d := withDendrite(t)
	p := d.follow(t)
	if err := d.dendrite.DeleteStream(t.Context(), dendriteTopic); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if code, body := get(t, p, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stream DendriteOutputPresenceEvent is missing: Dendrite makes it") {
			return fmt.Errorf("/readyz answers %d: %s", code, body)
		}
		return nil
	})
	d.makeStream(t)
	eventually(t, func() error {
		if code, body := get(t, p, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("/readyz answers %d: %s", code, body)
		}
		return nil
	})
	d.puts(t, "online", "again")
	d.awaitDelivered(t, `"status_msg":"again"`)
}

func TestSourceDendriteReportsWhatItCannotUse(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	away := "nats://" + unusedAddress(t)
	tests := []struct {
		name    string
		sources string
		code    int
		want    string
	}{
		{"no Dendrite", "[]", 2, "sources.dendrite is missing: want a list with the Dendrites to follow"},
		{"a server that is not local", "[{server_names: [example.org]}]", 2, `sources.dendrite[0].server_names[0] is "example.org": want one of [example.com]`},
		{"no file", fmt.Sprintf("[{nats: {url: %q, credentials: /nonexistent}, server_names: [example.com]}]", away), 2, "sources.dendrite[0].nats.credentials: open /nonexistent: no such file"},
		{"no server", fmt.Sprintf("[{nats: {url: %q, connect_timeout: 100ms}, server_names: [example.com]}]", away), 1, "sources.dendrite[0]: connect to NATS at " + away},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, tt.code, "", append(slices.Clone(env), "ROUTER_WORKER_SOURCES_DENDRITE="+tt.sources), "source", "dendrite")
			if got := p.stderr.String(); !strings.Contains(got, tt.want) {
				t.Errorf("source dendrite says %q, want %q in it", got, tt.want)
			}
		})
	}
}
