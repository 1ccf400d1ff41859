package stream_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/status"
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
	harm    func(*testing.T, *failing)              // nil if the worker need only start
}

// failuresAtOnce is how many are provoked at once. They wait for most of their time, so
// these are more than -parallel allows.
const failuresAtOnce = 16

// Every failure of the table in docs/operating.md is provoked, and log, /readyz, status
// and metrics say what the table says.
func TestFailuresAreSaidAsDocumented(t *testing.T) {
	t.Parallel()
	rows := documentedFailures(t)
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, failuresAtOnce)
	for _, f := range slices.Concat(failuresOfNATS(), failuresOfStreams(), failuresOfWork(), failuresOfQueries()) {
		row, found := rows[f.name]
		if !found {
			t.Errorf("docs/operating.md does not say what is said of %q", f.name)
			continue
		}
		delete(rows, f.name)
		running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			t.Run(f.name, func(t *testing.T) { f.provoke(t).says(t, row) })
		})
	}
	for name := range rows {
		t.Errorf("docs/operating.md says what is said of %q, and nothing provokes that", name)
	}
}

func (f failure) provoke(t *testing.T) *failing {
	t.Helper()
	config := testConfig()
	config.Worker.TTL, config.Worker.StopTimeout = time.Second, 3*time.Second
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
	if f.harm != nil {
		f.harm(t, g)
	}
	return g
}

// ends waits until the worker ends with an error, and keeps it as the process writes it
// to its log.
func (g *failing) ends(t *testing.T) {
	t.Helper()
	g.fails(t, g.worker.wait(t))
}

func (g *failing) fails(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("the error is nil, want what the process ends with")
		return
	}
	g.worker.log.logger().Error("the process ends", "error", err)
}

func (g *failing) run(t *testing.T, routers []routing.Registration, opts ...stream.Option) {
	t.Helper()
	reader, metered := newMeter()
	g.reader = reader
	g.worker = g.newWorker(t, routers, append(opts, metered, stream.WithIdentity("v1", "aaa"))...)
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
	status, err := status.Read(t.Context(), g.nc, g.config.Streams.Prefix)
	if err != nil {
		return diagnosis.Explain(t.Context(), g.nc, g.config.Streams.Prefix, err).Error()
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
