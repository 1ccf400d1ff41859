package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// documented is a row of the table of failures in docs/operating.md. What stands in
// backticks is said in these words.
type documented struct{ log, ready, status, metric string }

var inBackticks = regexp.MustCompile("`([^`]+)`")

func documentedFailures(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| failure | log | `/readyz` | `status` | metric |\n|---|---|---|---|---|\n")
	if !found {
		t.Fatal("docs/operating.md has no table of failures")
	}
	rows := make(map[string]documented)
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) != 5 {
			break
		}
		rows[strings.TrimSpace(cells[0])] = documented{cells[1], cells[2], cells[3], cells[4]}
	}
	return rows
}

// failing is a deployment with a worker in which something fails.
type failing struct {
	*site

	servers []*natsserver.Server // of a cluster
	worker  *worker
	reader  *metric.ManualReader
	frozen  atomic.Bool // the server behind the proxy answers nothing
}

// failure is how a row of the table is provoked.
type failure struct {
	name    string
	config  func(*stream.Config)
	before  func(*testing.T, *failing)              // the worker starts
	routers func(*testing.T) []routing.Registration // nil for one that delivers everything to alice
	harm    func(*testing.T, *failing)
}

// Every failure of the table in docs/operating.md is provoked, and log, /readyz, status
// and metrics say what the table says.
func TestFailuresAreSaidAsDocumented(t *testing.T) {
	t.Parallel()
	rows := documentedFailures(t)
	for _, f := range failures() {
		row, found := rows[f.name]
		if !found {
			t.Errorf("docs/operating.md does not say what is said of %q", f.name)
			continue
		}
		delete(rows, f.name)
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.provoke(t).says(t, row)
		})
	}
	for name := range rows {
		t.Errorf("docs/operating.md says what is said of %q, and nothing provokes that", name)
	}
}

func (f failure) provoke(t *testing.T) *failing {
	t.Helper()
	config := testConfig()
	config.Worker.TTL, config.Worker.StopTimeout = time.Second, 100*time.Millisecond
	if f.config != nil {
		f.config(&config)
	}
	g := &failing{}
	if config.Streams.Replicas > 1 {
		g.servers = natstest.RunCluster(t, config.Streams.Replicas)
	} else {
		g.servers = []*natsserver.Server{natstest.Run(t, func(o *natsserver.Options) { o.MaxStore = 1 << 30 })}
	}
	g.site = newSiteOn(t, g.servers[0], config)
	if f.before != nil {
		f.before(t, g)
	}
	routers := []routing.Registration{registration(toEach(t, alice))}
	if f.routers != nil {
		routers = f.routers(t)
	}
	g.run(t, routers)
	g.worker.awaitReady(t)
	f.harm(t, g)
	return g
}

func (g *failing) run(t *testing.T, routers []routing.Registration) {
	t.Helper()
	reader, metered := newMeter()
	g.reader = reader
	g.worker = g.newWorker(t, routers, metered, stream.WithIdentity("v1", "aaa"))
	g.worker.run(t)
}

// says waits until everything is said that the row documents.
func (g *failing) says(t *testing.T, row documented) {
	t.Helper()
	check := func(where, cell string, said func() string) {
		for _, words := range inBackticks.FindAllStringSubmatch(cell, -1) {
			eventually(t, fmt.Sprintf("%q in %s", words[1], where), func() bool { return strings.Contains(said(), words[1]) })
		}
	}
	check("the log", row.log, g.worker.log.String)
	check("/readyz", row.ready, func() string { return fmt.Sprint(g.worker.Ready()) })
	check("status", row.status, func() string { return g.statusText(t) })
	check("the metrics", row.metric, func() string { return g.metricsText(t) })
	if row.ready == "ready" {
		g.worker.awaitReady(t)
	}
}

// statusText is what router-worker status warns of, or fails with.
func (g *failing) statusText(t *testing.T) string {
	t.Helper()
	status, err := stream.ReadStatus(t.Context(), g.nc, g.config.Streams.Prefix)
	if err != nil {
		return stream.Explain(t.Context(), g.nc, g.config.Streams.Prefix, err).Error()
	}
	return strings.Join(status.Warnings(100*time.Millisecond), "\n")
}

// metricsText lists the metrics that are not 0, the way Prometheus names them.
func (g *failing) metricsText(t *testing.T) string {
	t.Helper()
	var lines []string
	for name, value := range collect(t, g.reader).values {
		if value == 0 {
			continue
		}
		name, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		for _, total := range []string{"", "_total"} {
			line := name + total
			if labels != "" {
				line += "{" + strings.ReplaceAll(strings.ReplaceAll(labels, "=", `="`), ",", `",`) + `"}`
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func failures() []failure {
	all := []failure{
		{name: "NATS server down", harm: func(_ *testing.T, g *failing) { g.server.Shutdown() }},
		{name: "NATS server stopped or very slow", before: behindProxy, harm: func(_ *testing.T, g *failing) { g.frozen.Store(true) }},
		{name: "JetStream disabled, disk full", config: inFile, harm: func(t *testing.T, g *failing) {
			t.Helper()
			if err := g.server.DisableJetStream(); err != nil {
				t.Error(err)
			}
		}},
		{name: "a replica away", config: replicated, harm: func(_ *testing.T, g *failing) { g.servers[2].Shutdown() }},
		{name: "no leader", config: replicated, harm: func(_ *testing.T, g *failing) {
			g.servers[2].Shutdown()
			g.servers[1].Shutdown()
		}},
		{name: "deliveries stream full", config: func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.fill(t)
			g.publish(t, bob, 1)
		}},
		{name: "updates stream full", config: func(c *stream.Config) { c.Streams.Updates.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publishFat(t, 80)
		}},
		{name: "dead letters stream full", config: func(c *stream.Config) { c.Streams.Dead.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			for range 80 {
				g.publishRaw(t, g.subjects.Update(presence.MustUserID(bob)), strings.Repeat("x", 20<<10), nil)
			}
		}},
		{name: "states stream full", config: func(c *stream.Config) { c.Streams.State.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			for i := range 80 {
				user := fmt.Sprintf("@user%d:example.com", i)
				g.publishRaw(t, g.subjects.Update(presence.MustUserID(user)), fat(user, i), nil)
			}
		}},
		{name: "no room for a stream", config: inFile, harm: noRoom},
		{name: "router fails", routers: failingRouter, harm: publishOne},
		{name: "credentials refused", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.connectThrough(t, func(frame []byte) ([]byte, verdict) {
				return append(frame, "-ERR 'Authorization Violation'\r\n"...), pass
			})
		}},
		{name: "nats-server too old", harm: func(t *testing.T, g *failing) {
			t.Helper()
			version := regexp.MustCompile(`"version":"[^"]*"`)
			g.connectThrough(t, func(frame []byte) ([]byte, verdict) {
				return version.ReplaceAll(frame, []byte(`"version":"2.11.9"`)), pass
			})
		}},
		{name: "router hangs", routers: hangingRouter, harm: publishOne},
		{name: "partition taken over", config: func(c *stream.Config) { c.Worker.TTL = time.Minute }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.takeOver(t)
			g.publish(t, bob, 1)
		}},
		{name: "dead letters", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publishRaw(t, g.subjects.Update(presence.MustUserID(bob)), "nonsense", nil)
		}},
		{name: "no worker", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.worker.stop(t)
		}},
		{name: "checkpoint forged", harm: func(t *testing.T, g *failing) {
			t.Helper()
			if _, err := g.js.Publish(t.Context(), g.subjects.Checkpoint(0), []byte("{}")); err != nil {
				t.Error(err)
			}
		}},
		{name: "updates stream made again", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			g.drop(t, g.subjects.UpdatesStream())
			g.applyTopology(t)
		}},
		{name: "deliveries stream purged", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			if err := g.deliveriesStream(t).Purge(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{name: "workers configured otherwise", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.start(t, toEach(t, alice), stream.WithIdentity("v1", "bbb"))
		}},
	}
	for _, name := range []string{"PRESENCE_UPDATES", "PRESENCE_DELIVERIES", "KV_PRESENCE_WORKERS", "PRESENCE_DEAD", "PRESENCE_STATE"} {
		all = append(all, failure{name: name + " missing", config: unmended, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.drop(t, name)
		}})
	}
	return all
}

func inFile(c *stream.Config) {
	c.Streams.Storage = stream.File
	c.Streams.Deliveries.MaxBytes, c.Streams.Dead.MaxBytes, c.Streams.State.MaxBytes = -1, -1, -1 // or the server reserves them
}

func replicated(c *stream.Config) { c.Streams.Replicas = 3 }
func unmended(c *stream.Config)   { c.Worker.Topology = false }

func (s *site) drop(t *testing.T, name string) {
	t.Helper()
	if err := s.js.DeleteStream(t.Context(), name); err != nil {
		t.Error(err)
	}
}

func publishOne(t *testing.T, g *failing) {
	t.Helper()
	g.publish(t, bob, 1)
}

// behindProxy has the worker and who asks for the status reach the server through a proxy.
func behindProxy(t *testing.T, g *failing) {
	t.Helper()
	g.url = startProxy(t, g.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		if g.frozen.Load() {
			return frame, swallow
		}
		return frame, pass
	}})
	g.nc = natstest.Connect(t, g.url)
}

func failingRouter(t *testing.T) []routing.Registration {
	t.Helper()
	return besides(t, routing.Retry, func(context.Context, states) (answer, error) { return nil, errors.New("not yet") })
}

// connectThrough connects as a worker does that starts, and keeps what it ends with as the
// process writes it to its log.
func (g *failing) connectThrough(t *testing.T, fromServer func([]byte) ([]byte, verdict)) {
	t.Helper()
	_, err := stream.Connect(t.Context(), startProxy(t, g.url, &proxy{fromServer: fromServer}), g.worker.log.logger())
	if err == nil {
		t.Error("Connect = nil, want an error")
		return
	}
	g.worker.log.logger().Error("the process ends", "error", err)
}

// hangingRouter hangs until the test ends.
func hangingRouter(t *testing.T) []routing.Registration {
	t.Helper()
	h := newHeld()
	t.Cleanup(func() { close(h.release) })
	return []routing.Registration{registration(h.router(t))}
}

// takeOver writes the checkpoint of partition 0 as another worker does that claims it.
func (g *failing) takeOver(t *testing.T) {
	t.Helper()
	mine, _ := g.checkpoint(t, 0)
	mine.Worker, mine.Commit = "other", "other-claim-1"
	message := &nats.Msg{
		Subject: g.subjects.Checkpoint(0), Data: wire.AppendCheckpoint(nil, mine),
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {"never"}},
	}
	if _, err := g.js.PublishMsg(t.Context(), message); err != nil {
		t.Error(err)
	}
}

// noRoom starts the worker again with a stream that is larger than the server.
func noRoom(t *testing.T, g *failing) {
	t.Helper()
	g.worker.stop(t)
	g.drop(t, g.subjects.UpdatesStream())
	g.config.Streams.Updates.MaxBytes = 8 << 30
	g.run(t, []routing.Registration{registration(toEach(t, alice))})
}
