package dendrite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/source/dendrite"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	eventTimeout = time.Minute
	eventPoll    = 2 * time.Millisecond

	topic = "DendriteOutputPresenceEvent"
	bob   = "@bob:example.com"
	carol = "@carol:example.com"
)

// site is a Dendrite's NATS server and the router's, with their streams.
type site struct {
	from, to     *natsserver.Server
	dendrite, js jetstream.JetStream
	subjects     wire.Subjects
}

func newSite(t *testing.T) *site {
	t.Helper()
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{from: natstest.Run(t), to: natstest.Run(t), subjects: subjects}
	s.dendrite = natstest.JetStream(t, natstest.Connect(t, s.from.URL()))
	s.js = natstest.JetStream(t, natstest.Connect(t, s.to.URL()))
	s.applyTopology(t)
	s.makeStream(t)
	return s
}

// applyTopology makes the router's streams.
func (s *site) applyTopology(t *testing.T) {
	t.Helper()
	c := topology.DefaultConfig()
	c.Storage = topology.Memory
	c.Updates.MaxBytes = -1
	streams, err := topology.New(s.js, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// streamConfig is what Dendrite 0.15.2 makes its stream of.
func streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: topic, Subjects: []string{topic, topic + ".>"},
		Retention: jetstream.InterestPolicy, Storage: jetstream.MemoryStorage, MaxAge: 5 * time.Minute,
	}
}

// makeStream does what Dendrite does when it connects, and wants at the end of the test
// that nobody has changed the stream.
func (s *site) makeStream(t *testing.T, change ...func(*jetstream.StreamConfig)) {
	t.Helper()
	config := streamConfig()
	for _, c := range change {
		c(&config)
	}
	made, err := s.dendrite.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	want := made.CachedInfo().Config
	t.Cleanup(func() {
		found, err := s.dendrite.Stream(context.Background(), topic)
		if err == nil && found.CachedInfo().Created.Equal(made.CachedInfo().Created) && !reflect.DeepEqual(found.CachedInfo().Config, want) {
			t.Errorf("the stream is %+v, want it as Dendrite made it: %+v", found.CachedInfo().Config, want)
		}
	})
}

// remakeStream deletes the stream, with all consumers, and makes it again.
func (s *site) remakeStream(t *testing.T, change ...func(*jetstream.StreamConfig)) {
	t.Helper()
	if err := s.dendrite.DeleteStream(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	s.makeStream(t, change...)
}

// emit publishes a message as Dendrite does, header names and values in turn.
func (s *site) emit(t *testing.T, headers ...string) {
	t.Helper()
	m := nats.NewMsg(topic)
	for pair := range slices.Chunk(headers, 2) {
		m.Header.Set(pair[0], pair[1])
	}
	if _, err := s.dendrite.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// says has user be online and say text.
func (s *site) says(t *testing.T, user, text string) {
	t.Helper()
	s.emit(t, "user_id", user, "presence", "online", "last_active_ts", "1", "status_msg", text)
}

// is has user be in a state, and leaves the status as it is.
func (s *site) is(t *testing.T, user, state string) {
	t.Helper()
	s.emit(t, "user_id", user, "presence", state, "last_active_ts", "1")
}

// stored returns the updates that the router has.
func (s *site) stored(t *testing.T) []jetstream.Msg {
	t.Helper()
	return natstest.Stored(t, s.js, s.subjects.UpdatesStream(), ">")
}

// want waits until there are as many updates as texts, and wants that each is of the
// user, in the state and with the status of its text: "bob online lunch".
func (s *site) want(t *testing.T, texts ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d updates", len(texts)), func() bool { return s.count(t) >= len(texts) })
	var got []string
	for _, m := range s.stored(t) {
		state, err := wire.DecodeUpdate(m.Data(), 0, len(m.Data()))
		if err != nil {
			t.Fatalf("update %s: %v", m.Data(), err)
		}
		status := "-"
		if state.StatusMsg.IsSet {
			status = state.StatusMsg.Text
		}
		got = append(got, state.UserID.Localpart()+" "+string(state.State)+" "+status)
	}
	if !reflect.DeepEqual(got, texts) {
		t.Errorf("updates are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(texts, "\n"))
	}
}

func (s *site) count(t *testing.T) int {
	t.Helper()
	found, err := s.js.Stream(t.Context(), s.subjects.UpdatesStream())
	if err != nil {
		t.Fatal(err)
	}
	return int(found.CachedInfo().State.Msgs) //nolint:gosec // A test has few.
}

func config() dendrite.Config {
	c := dendrite.DefaultConfig()
	c.ServerNames = []presence.ServerName{presence.MustServerName("example.com")}
	c.AckWait = time.Second
	return c
}

// running is a source that runs.
type running struct {
	*dendrite.Source

	from, to *nats.Conn
	metrics  *sdkmetric.ManualReader
	log      buffer
	stop     func() // ends the source and waits for that
}

// run runs a source until the test or stop ends.
func (s *site) run(t *testing.T, c dendrite.Config) *running {
	t.Helper()
	return runAt(t, s.from.URL(), s.to.URL(), c)
}

// runAt is run with the URLs that the source connects to.
func runAt(t *testing.T, from, to string, c dendrite.Config) *running {
	t.Helper()
	unbuffered := nats.ReconnectBufSize(-1) // as the command connects
	r := &running{from: natstest.Connect(t, from, unbuffered), to: natstest.Connect(t, to, unbuffered), metrics: sdkmetric.NewManualReader()}
	made, err := dendrite.New(r.from, r.to, c,
		dendrite.WithLogger(slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		dendrite.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.metrics))))
	if err != nil {
		t.Fatal(err)
	}
	r.Source = made
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		end()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run() = %v, want nil", err)
			}
		case <-time.After(eventTimeout):
			t.Errorf("the source runs on after %v", eventTimeout)
		}
		if t.Failed() {
			t.Logf("log:\n%s", &r.log)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// crash cuts the source off from everybody, in the midst of whatever it does.
func (r *running) crash() {
	r.from.Close()
	r.to.Close()
}

// awaitReady waits until the source reads or stands by.
func (r *running) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, "readiness", func() bool { return r.Ready() == nil })
}

// awaitConsumer waits until there is a durable consumer.
func (s *site) awaitConsumer(t *testing.T) {
	t.Helper()
	eventually(t, "consumer", func() bool {
		_, err := s.dendrite.Consumer(t.Context(), topic, "presence-router")
		return err == nil
	})
}

// awaitDone waits until every message is acknowledged.
func (s *site) awaitDone(t *testing.T) {
	t.Helper()
	eventually(t, "acknowledgement of everything", func() bool {
		found, err := s.dendrite.Stream(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		return found.CachedInfo().State.Msgs == 0
	})
}

// measured returns the sum of what a metric shows, over its attributes that have the
// outcome, "" for all.
func (r *running) measured(t *testing.T, name, outcome string) (sum int64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.metrics.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				sum += total(m.Data, outcome)
			}
		}
	}
	return sum
}

func total(data metricdata.Aggregation, outcome string) (sum int64) {
	points := []metricdata.DataPoint[int64]{}
	switch data := data.(type) {
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	case metricdata.Sum[int64]:
		points = data.DataPoints
	}
	for _, p := range points {
		if value, _ := p.Attributes.Value("outcome"); outcome == "" || value.AsString() == outcome {
			sum += p.Value
		}
	}
	return sum
}

// awaitOutcome waits until n messages have become something.
func (r *running) awaitOutcome(t *testing.T, outcome string, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages that are %s", n, outcome), func() bool {
		return r.measured(t, "presence_router_source_messages", outcome) == n
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	bound := time.NewTimer(eventTimeout)
	defer bound.Stop()
	poll := time.NewTicker(eventPoll)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-bound.C:
			t.Fatalf("no %s within %v", what, eventTimeout)
		}
	}
}

// decodeLines decodes each line of JSON.
func decodeLines[T any](t *testing.T, text []byte) (all []T) {
	t.Helper()
	for line := range bytes.Lines(text) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu      sync.Mutex
	written bytes.Buffer
}

// Write keeps p.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.Write(p)
}

// String returns what was written.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}
