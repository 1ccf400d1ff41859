package stream_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/status"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// allStreams names the streams of a site, in the order of topology plan.
func (s *site) allStreams() []string {
	return []string{s.subjects.UpdatesStream(), s.subjects.DeliveriesStream(), s.subjects.DeadStream(), s.subjects.WorkersStream(), s.subjects.StateStream()}
}

// with returns the site as another configuration has it.
func (s *site) with(change func(*stream.Config)) *site {
	other := &site{server: s.server, url: s.url, nc: s.nc, js: s.js, config: s.config, subjects: s.subjects}
	change(&other.config)
	return other
}

// A worker goes on with the streams that there are, whatever it is configured with,
// and says so.
func TestWorkerLeavesStreamsAsTheyAre(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(*stream.Config)
		setting string
		have    string
		want    string
		streams int
	}{
		{"more replicas", func(c *stream.Config) { c.Streams.Replicas = 3 }, "replicas", "1", "3", 5},
		{"other storage", func(c *stream.Config) { c.Streams.Storage = topology.File }, "storage", "memory", "file", 5},
		{"shorter max_age", func(c *stream.Config) { c.Streams.Updates.MaxAge = time.Hour }, "max_age", "24h0m0s", "1h0m0s", 1},
		{"longer max_age", func(c *stream.Config) { c.Streams.Dead.MaxAge = 8760 * time.Hour }, "max_age", "168h0m0s", "8760h0m0s", 1},
		{"first limit of updates", func(c *stream.Config) { c.Streams.Updates.MaxBytes = 1 << 30 }, "max_bytes", "-1", "1073741824", 1},
		{"first limit of deliveries", func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = 1 << 30 }, "max_bytes", "-1", "1073741824", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = -1 })
			other := s.with(tt.change)
			reader, metered := newMeter()
			w := other.start(t, toEach(t, alice), metered)
			last := s.publish(t, bob, 1)
			s.awaitPosition(t, last)
			wantOnce(t, s.deliveries(t), 1, last, alice)
			if got := plan(t, s.js, s.config.Streams); len(got) != 0 {
				t.Errorf("the worker changed streams: %v", got)
			}
			w.log.want(t, 1, "level=WARN", "streams are not as configured, going on with what there is", "setting="+tt.setting, "have="+tt.have, "configured="+tt.want)
			wantOtherwise(t, reader, tt.streams)
			warnings := s.awaitWarning(t, "The streams are not as configured: ")
			if !strings.Contains(warnings, tt.setting+" of PRESENCE_") || !strings.Contains(warnings, " is "+tt.have+", and "+tt.want+" for "+w.ID()+".") {
				t.Errorf("warning is %q, want %s, %s and %s of worker %s", warnings, tt.setting, tt.have, tt.want, w.ID())
			}
			w.stop(t)
			w.log.want(t, 1, "streams are not as configured")
		})
	}
}

func wantOtherwise(t *testing.T, reader *metric.ManualReader, want int) {
	t.Helper()
	const name = "presence_router_streams_configured_otherwise"
	if got, found := collect(t, reader).values[name]; !found || got != int64(want) {
		t.Errorf("%s is %d (there: %t), want %d", name, got, found, want)
	}
}

// awaitWarning waits until the status has a warning with that text, and returns it.
func (s *site) awaitWarning(t *testing.T, text string) string {
	t.Helper()
	var found string
	s.awaitStatus(t, "warning "+strconv.Quote(text), func(status status.Status) bool {
		for _, warning := range status.Warnings(time.Hour) {
			if strings.Contains(warning, text) {
				found = warning
			}
		}
		return found != ""
	})
	return found
}

// A worker turns on what it cannot do without, and nothing else.
func TestWorkerTurnsOnWhatItNeeds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	edit(t, s.js, s.subjects.DeliveriesStream(), func(c *jetstream.StreamConfig) {
		c.AllowDirect, c.MaxAge = false, time.Hour
	})
	edit(t, s.js, s.subjects.UpdatesStream(), func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardNew, 1<<30 })
	w := s.start(t, toEach(t, alice))
	w.log.want(t, 1, "changed a stream", "action=update")
	w.log.want(t, 1, "changed a stream", "setting=allow_direct", "have=false", "want=true")
	want := []string{
		"keep PRESENCE_UPDATES: max_bytes is 1073741824, configured is -1: no change is made while another is refused",
		"refuse PRESENCE_UPDATES: discard is new, configured is old: a full stream would delete the oldest messages; " +
			"if that is meant, run router-worker topology apply --allow-weaker",
		"refuse PRESENCE_DELIVERIES: max_age is 1h0m0s, configured is 15m0s: messages that are kept now would be deleted; " +
			"if that is meant, run router-worker topology apply --allow-weaker",
	}
	if got := plan(t, s.js, s.config.Streams); !slices.Equal(got, want) {
		t.Errorf("then the plan is %v, want %v", got, want)
	}
	w.stop(t)
}

// What is said of the streams ends once they are as configured.
func TestDifferenceOfStreamsEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.with(func(c *stream.Config) { c.Streams.Dead.MaxAge = 336 * time.Hour })
	reader, metered := newMeter()
	w := other.start(t, toEach(t, alice), metered)
	s.awaitWarning(t, "max_age of PRESENCE_DEAD is 168h0m0s, and 336h0m0s for "+w.ID())
	other.applyTopology(t)
	w.log.await(t, "streams are as configured")
	s.awaitStatus(t, "status without warnings", func(status status.Status) bool { return len(status.Warnings(time.Hour)) == 0 })
	wantOtherwise(t, reader, 0)
	w.stop(t)
}

// A worker with the default of one replica joins a deployment of three, and makes
// streams that are missing like the others: a server may still fail.
func TestWorkerKeepsReplicas(t *testing.T) {
	t.Parallel()
	servers := natstest.RunCluster(t, 3)
	config := testConfig()
	config.Streams.Replicas = 3
	s := newSiteOn(t, servers[0], config)
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeadStream()); err != nil {
		t.Fatal(err)
	}
	s.url = servers[0].URL() + "," + servers[1].URL() + "," + servers[2].URL()
	stray := s.with(func(c *stream.Config) { c.Streams.Replicas = 1 })
	first, second := stray.start(t, toEach(t, alice)), s.start(t, toEach(t, alice))
	first.log.want(t, 1, "streams are not as configured", "setting=replicas", "have=3", "configured=1")
	second.log.want(t, 0, "streams are not as configured")
	for _, name := range s.allStreams() {
		if c := s.stream(t, name).CachedInfo().Config; c.Replicas != 3 || c.AllowBatchPublish {
			t.Errorf("stream %s has %d replicas and fast ingest %t, want 3 without", name, c.Replicas, c.AllowBatchPublish)
		}
	}

	leader := s.updatesStream(t).CachedInfo().Cluster.Leader
	nc := natstest.Connect(t, s.url)
	s.nc, s.js = nc, natstest.JetStream(t, nc)
	for _, server := range servers {
		if server.Options().Name == leader {
			server.Shutdown()
		}
	}
	var last uint64
	eventually(t, "update that is stored without a server", func() bool {
		ack, err := s.js.Publish(t.Context(), s.subjects.Update(presence.MustUserID(bob)), []byte(update(bob, 1)), jetstream.WithMsgID("one"))
		if err == nil {
			last = ack.Sequence
		}
		return err == nil
	})
	s.awaitPosition(t, last)
	wantOnce(t, s.deliveries(t), last, last, alice)
	s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Worker == first.ID() || c.Worker == second.ID() })
}

// A stream that the server has no room for comes with the settings that help.
func TestStreamIsLargerThanTheServer(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t, func(o *natsserver.Options) { o.MaxStore = 1 << 30 })
	nc := natstest.Connect(t, server.URL())
	config := topology.DefaultConfig()
	topology, err := topology.New(natstest.JetStream(t, nc), config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = topology.Apply(t.Context())
	const want = "create stream PRESENCE_UPDATES: the server reserves max_bytes of every stream and has less room than that: lower streams.updates.max_bytes (8 GiB), or raise max_file_store"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Apply = %v, want %q", err, want)
	}
}
