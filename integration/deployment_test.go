package integration_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	partitions    = 16
	commitTimeout = 2 * time.Minute // from the last update to the last checkpoint, on a busy machine
	poll          = 20 * time.Millisecond
)

// settings are variables of router-worker without ROUTER_WORKER_, such as
// WORKER_COMMIT_TIMEOUT.
type settings map[string]string

// testSettings keep what a test waits for short. Deliveries stay for as long as
// the longest test.
func testSettings() settings {
	return settings{
		"HTTP_LISTEN":                  "127.0.0.1:0",
		"STREAMS_DELIVERIES_MAX_AGE":   "24h",
		"STREAMS_DELIVERIES_MAX_BYTES": "-1",
		"WORKER_COMMIT_TIMEOUT":        "1s",
		"WORKER_CHECKPOINT_INTERVAL":   "100ms",
		"WORKER_TTL":                   "1s",
	}
}

// deployment is a nats-server process, a configuration, and the workers that run
// with it.
type deployment struct {
	t        testing.TB
	server   *natstest.Process
	config   string // path of the configuration file
	settings settings
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects
	started  int    // workers so far
	binary   string // of the workers
}

// deploy starts a server and writes a configuration with the routes of a load.
func deploy(t *testing.T, l *load, over ...settings) *deployment {
	t.Helper()
	return deployOn(t, natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer}), l, over...)
}

// deployOn is deploy on a server that runs already.
func deployOn(t *testing.T, server *natstest.Process, l *load, over ...settings) *deployment {
	t.Helper()
	d := configure(t, server.URL(), l, over...)
	d.server = server
	d.nc = natstest.Connect(t, server.URL())
	d.js = natstest.JetStream(t, d.nc)
	return d
}

// configure makes a deployment that has no server.
func configure(tb testing.TB, url string, l *load, over ...settings) *deployment {
	tb.Helper()
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		tb.Fatal(err)
	}
	d := &deployment{t: tb, settings: testSettings(), subjects: subjects, config: filepath.Join(tb.TempDir(), "config.yaml"), binary: binaries.worker}
	d.settings["NATS_URL"] = url
	for _, s := range over {
		maps.Copy(d.settings, s)
	}
	if err := os.WriteFile(d.config, l.configuration(tb), 0o600); err != nil {
		tb.Fatal(err)
	}
	return d
}

// start starts a worker with an ID of its own.
func (d *deployment) start(over ...settings) *workerProcess {
	d.t.Helper()
	d.started++
	id := fmt.Sprintf("w%d", d.started)
	all := maps.Clone(d.settings)
	all["WORKER_ID"] = id
	for _, s := range over {
		maps.Copy(all, s)
	}
	var environ []string
	for name, value := range all {
		if name != clockFile {
			name = "ROUTER_WORKER_" + name
		}
		environ = append(environ, name+"="+value)
	}
	return startProcess(d.t, d.binary, id, environ, "run", "--config", d.config)
}

// startReady is start, and waits until the worker serves.
func (d *deployment) startReady(over ...settings) *workerProcess {
	d.t.Helper()
	w := d.start(over...)
	w.awaitReady()
	return w
}

// command runs another command of router-worker as a client of the server.
func (d *deployment) command(args ...string) *workerProcess {
	d.t.Helper()
	return startProcess(d.t, binaries.worker, args[0], nil, append(args, "--nats", d.server.URL())...)
}

// awaitCommitted waits until every update is committed that is stored in the layout
// that updates are stored in now.
func (d *deployment) awaitCommitted() {
	d.t.Helper()
	var layout wire.Layout
	d.eventually("layout", func(ctx context.Context) (err error) {
		layout, err = d.layout(ctx)
		return err
	})
	for p := range layout.Partitions {
		d.eventually(fmt.Sprintf("commit of partition %d", p), func(ctx context.Context) error {
			return d.committed(ctx, d.subjects.In(layout.Generation), p)
		})
	}
}

// layout returns the layout that updates are stored in now.
func (d *deployment) layout(ctx context.Context) (wire.Layout, error) {
	s, err := d.js.Stream(ctx, d.subjects.UpdatesStream())
	if err != nil {
		return wire.Layout{}, err
	}
	return d.subjects.ParseUpdateTransform(s.CachedInfo().Config.SubjectTransform.Destination)
}

// committed compares times rather than sequences, which begin anew with a stream.
func (d *deployment) committed(ctx context.Context, subjects wire.Subjects, partition int) error {
	last, err := d.lastMessage(ctx, subjects.UpdatesStream(), subjects.PartitionUpdates(partition))
	if last == nil {
		return err
	}
	m, err := d.lastMessage(ctx, subjects.DeliveriesStream(), subjects.Checkpoint(partition))
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("no checkpoint, last update is at %d", last.Sequence)
	}
	c, err := wire.DecodeCheckpoint(m.Data)
	if err != nil {
		return err
	}
	if c.Time.Before(last.Time) || !c.After.IsZero() {
		return fmt.Errorf("checkpoint is at %d (after %q), last update at %d", c.Sequence, c.After, last.Sequence)
	}
	return nil
}

// lastMessage returns nil where there is none.
func (d *deployment) lastMessage(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	s, err := d.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if err != nil && strings.Contains(err.Error(), "message not found") {
		return nil, nil
	}
	return m, err
}

// eventually tries until it works out.
func (d *deployment) eventually(what string, try func(context.Context) error) {
	d.t.Helper()
	if err := retry(d.t.Context(), commitTimeout, try); err != nil {
		d.t.Fatalf("no %s after %v: %v", what, commitTimeout, err)
	}
}

// retry tries for a while until it works out, and returns the last error where it
// does not.
func retry(ctx context.Context, within time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var last error
	for {
		attempt, end := context.WithTimeout(ctx, 10*time.Second)
		err := try(attempt)
		end()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

// lastSequence returns the sequence of the last message of a stream.
func (d *deployment) lastSequence(stream string) uint64 {
	d.t.Helper()
	s, err := d.js.Stream(d.t.Context(), stream)
	if err != nil {
		d.t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// wantDead wants n letters in the stream that keeps them.
func (d *deployment) wantDead(n int) {
	d.t.Helper()
	d.eventually(fmt.Sprintf("%d dead letters", n), func(ctx context.Context) error {
		s, err := d.js.Stream(ctx, d.subjects.DeadStream())
		if err == nil && s.CachedInfo().State.Msgs != uint64(n) { //nolint:gosec // Small and positive.
			err = fmt.Errorf("there are %d", s.CachedInfo().State.Msgs)
		}
		return err
	})
}
