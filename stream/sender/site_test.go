package sender_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	eventTimeout = 30 * time.Second
	eventPoll    = 2 * time.Millisecond

	bob = "@bob:example.com"
	eva = "@eva:somewhere.org"
)

// site is a NATS server with the streams, to which tests commit as a worker would.
type site struct {
	server   *natsserver.Server
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects
}

func newSite(t *testing.T, configure ...func(*natsserver.Options)) *site {
	t.Helper()
	server := natstest.Run(t, configure...)
	nc := natstest.Connect(t, server.URL())
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{server: server, nc: nc, js: natstest.JetStream(t, nc), subjects: subjects}
	s.applyTopology(t)
	return s
}

func (s *site) applyTopology(t *testing.T) {
	t.Helper()
	c := topology.DefaultConfig()
	c.Storage = topology.Memory
	c.Updates.MaxBytes = -1
	topology, err := topology.New(s.js, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// state is a state of user that came from the update with the sequence.
func state(user string, sequence uint64, fields string) presence.UserState {
	update := fmt.Sprintf(`{"user_id":%q,%s}`, user, fields)
	s, err := wire.DecodeUpdate([]byte(update), sequence, len(update))
	if err != nil {
		panic(err)
	}
	return s
}

// says is a state of bob that says text.
func says(sequence uint64, text string) presence.UserState {
	return state(bob, sequence, fmt.Sprintf(`"state":"online","status_msg":%q`, text))
}

// commit stores one delivery of the states.
func (s *site) commit(t *testing.T, recipient string, states ...presence.UserState) {
	t.Helper()
	s.commitWith(t, nil, recipient, states...)
}

func (s *site) commitWith(t *testing.T, header nats.Header, recipient string, states ...presence.UserState) {
	t.Helper()
	s.commitIn(t, 1, header, recipient, states...)
}

// commitIn is commitWith in another epoch than the first.
func (s *site) commitIn(t *testing.T, epoch int64, header nats.Header, recipient string, states ...presence.UserState) {
	t.Helper()
	to := presence.MustUserID(recipient)
	s.publish(t, &nats.Msg{
		Subject: s.subjects.Delivery(wire.Remote, wire.Shard(wire.Remote, to, 16), to),
		Data:    wire.AppendDelivery(nil, wire.Delivery{Recipient: to, Epoch: epoch, States: states}),
		Header:  header,
	})
}

func (s *site) publish(t *testing.T, m *nats.Msg) {
	t.Helper()
	if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatalf("publish to %s: %v", m.Subject, err)
	}
}

// unacknowledged returns how many deliveries the consumer waits for to be done, those
// aside that it has not delivered yet.
func (s *site) unacknowledged(t *testing.T) (pending int, undelivered uint64) {
	t.Helper()
	info := s.consumer(t)
	return info.NumAckPending, info.NumPending
}

// acknowledged returns up to which sequence all deliveries are acknowledged.
func (s *site) acknowledged(t *testing.T) uint64 {
	t.Helper()
	return s.consumer(t).AckFloor.Stream
}

func (s *site) consumer(t *testing.T) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := s.js.Consumer(t.Context(), s.subjects.DeliveriesStream(), "federate")
	if err != nil {
		t.Fatalf("look up the consumer: %v", err)
	}
	return c.CachedInfo()
}

// awaitUnacknowledged waits until n deliveries are not acknowledged. That they were is
// not undone, so that the wait ends only where they never were.
func (s *site) awaitUnacknowledged(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d unacknowledged deliveries", n), func() bool {
		pending, _ := s.unacknowledged(t)
		return pending == n
	})
}

// awaitDone waits until everything is acknowledged.
func (s *site) awaitDone(t *testing.T) {
	t.Helper()
	eventually(t, "acknowledgement of everything", func() bool {
		pending, undelivered := s.unacknowledged(t)
		return pending == 0 && undelivered == 0
	})
}

func config() sender.Config {
	c := sender.DefaultConfig()
	c.Origins = []presence.ServerName{presence.MustServerName("example.com")}
	c.FirstRetry, c.LongestRetry = time.Millisecond, 20*time.Millisecond
	return c
}

// running is a sender that runs.
type running struct {
	*sender.Sender

	metrics *sdkmetric.ManualReader
	log     logged
	stop    func() // ends the sender and waits for that
}

// run runs a sender on a connection of its own, until the test or stop ends.
func (s *site) run(t *testing.T, c sender.Config, send sender.Send) *running {
	t.Helper()
	return s.runWith(t, c, send, time.Now)
}

func (s *site) runWith(t *testing.T, c sender.Config, send sender.Send, now func() time.Time) *running {
	t.Helper()
	return runAt(t, s.server.URL(), c, send, now)
}

// runAt is runWith with the URL that the sender connects to.
func runAt(t *testing.T, url string, c sender.Config, send sender.Send, now func() time.Time) *running {
	t.Helper()
	r := &running{metrics: sdkmetric.NewManualReader()}
	made, err := sender.New(natstest.Connect(t, url), c, send, sender.WithClock(now),
		sender.WithLogger(slog.New(slog.NewJSONHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
		sender.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.metrics))))
	if err != nil {
		t.Fatal(err)
	}
	r.Sender = made
	r.stop = begin(t, made)
	return r
}

// begin runs made until the returned function is called or the test ends.
func begin(t *testing.T, made *sender.Sender) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	stopped := false
	stop = func() {
		end()
		if stopped {
			return
		}
		stopped = true
		if err := await(t, ended, "end of the sender"); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// measured returns the sum of what a metric shows, over its attributes that hold
// text.
func (r *running) measured(t *testing.T, name, text string) int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.metrics.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == name {
				sum += total(m.Data, text)
			}
		}
	}
	return sum
}

func total(data metricdata.Aggregation, text string) (sum int64) {
	points := []metricdata.DataPoint[int64]{}
	switch data := data.(type) {
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	case metricdata.Sum[int64]:
		points = data.DataPoints
	}
	for _, p := range points {
		if value, _ := p.Attributes.Value("outcome"); strings.Contains(value.AsString(), text) {
			sum += p.Value
		}
	}
	return sum
}

// awaitHeld waits until the sender holds n deliveries.
func (r *running) awaitHeld(t *testing.T, n int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("holding of %d deliveries", n), func() bool {
		return r.measured(t, "presence_router_sender_held_deliveries", "") == n
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

func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(eventTimeout):
		t.Fatalf("no %s within %v", what, eventTimeout)
	}
	panic("unreachable")
}
