package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	eventTimeout = time.Minute
	eventPoll    = 2 * time.Millisecond
)

// site is one deployment on a server of its own: streams of one partition in
// memory, users of example.com local, unless a test says otherwise.
type site struct {
	server   *natsserver.Server
	url      string        // that workers connect to
	options  []nats.Option // with which they do
	nc       *nats.Conn
	js       jetstream.JetStream
	config   stream.Config
	subjects wire.Subjects

	silent atomic.Bool // heartbeats of workers that are unheard do not arrive
}

func testConfig() stream.Config {
	c := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     topology.DefaultConfig(),
		Worker:      stream.DefaultWorkerConfig(),
	}
	c.Streams.Partitions = 1
	c.Streams.Storage = topology.Memory
	for _, limit := range []*int64{&c.Streams.Updates.MaxBytes, &c.Streams.Deliveries.MaxBytes, &c.Streams.Dead.MaxBytes, &c.Streams.State.MaxBytes} {
		*limit = -1 // else the server reserves memory for it
	}
	c.Worker.CheckpointInterval = 20 * time.Millisecond
	c.Worker.CommitTimeout = 2 * time.Second
	c.Worker.Queries.Timeout = eventTimeout
	c.Worker.StartTimeout = eventTimeout
	c.Worker.StopTimeout = eventTimeout
	c.Worker.TTL = 3 * time.Second
	return c
}

func newSite(t *testing.T, changes ...func(*stream.Config)) *site {
	t.Helper()
	config := testConfig()
	for _, change := range changes {
		change(&config)
	}
	return newSiteOn(t, natstest.Run(t), config)
}

// newSiteOn is newSite on a server that runs already.
func newSiteOn(t *testing.T, server *natsserver.Server, config stream.Config) *site {
	t.Helper()
	subjects, err := wire.NewSubjects(config.Streams.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	nc := natstest.Connect(t, server.URL())
	s := &site{server: server, url: server.URL(), nc: nc, js: natstest.JetStream(t, nc), config: config, subjects: subjects}
	s.applyTopology(t)
	return s
}

func (s *site) applyTopology(t *testing.T) {
	t.Helper()
	apply(t, s.js, s.config.Streams)
}

// update returns an update of user that differs from others in mark, with a field
// that the router does not know.
func update(user string, mark int) string {
	return fmt.Sprintf(`{"user_id":%q, "state":"online","last_active_ts":%d,"mark":"%d ☕"}`, user, 1000+mark, mark)
}

// publish stores one update and returns its sequence.
func (s *site) publish(t *testing.T, user string, mark int) uint64 {
	t.Helper()
	return s.publishRaw(t, s.subjects.Update(presence.MustUserID(user)), update(user, mark), nil)
}

func (s *site) publishRaw(t *testing.T, subject, data string, header nats.Header) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: []byte(data), Header: header})
	if err != nil {
		t.Fatalf("publish to %s: %v", subject, err)
	}
	return ack.Sequence
}

// publishMany stores n updates of bob with the marks from+1 to from+n, and
// returns the sequence of the last.
func (s *site) publishMany(t *testing.T, from, n int) uint64 {
	t.Helper()
	last := uint64(0)
	for i := range n {
		last = s.publish(t, bob, from+i+1)
	}
	return last
}

func (s *site) stream(t *testing.T, name string) jetstream.Stream {
	t.Helper()
	found, err := s.js.Stream(t.Context(), name)
	if err != nil {
		t.Fatalf("look up %s: %v", name, err)
	}
	return found
}

func (s *site) deliveriesStream(t *testing.T) jetstream.Stream {
	t.Helper()
	return s.stream(t, s.subjects.DeliveriesStream())
}

func (s *site) updatesStream(t *testing.T) jetstream.Stream {
	t.Helper()
	return s.stream(t, s.subjects.UpdatesStream())
}

// checkpoint returns a partition's checkpoint and its sequence, 0 where there is
// none.
func (s *site) checkpoint(t *testing.T, partition int) (wire.Checkpoint, uint64) {
	t.Helper()
	c, sequence, err := s.readCheckpoint(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return c, sequence
}

func (s *site) readCheckpoint(ctx context.Context, partition int) (wire.Checkpoint, uint64, error) {
	found, err := s.js.Stream(ctx, s.subjects.DeliveriesStream())
	if err != nil {
		return wire.Checkpoint{}, 0, err
	}
	m, err := found.GetLastMsgForSubject(ctx, s.subjects.Checkpoint(partition))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return wire.Checkpoint{}, 0, nil
	}
	if err != nil {
		return wire.Checkpoint{}, 0, err
	}
	c, err := wire.DecodeCheckpoint(m.Data)
	return c, m.Sequence, err
}

// awaitPosition waits until partition 0 is committed up to sequence.
func (s *site) awaitPosition(t *testing.T, sequence uint64) wire.Checkpoint {
	t.Helper()
	return s.awaitCheckpoint(t, 0, func(c wire.Checkpoint) bool { return c.Sequence >= sequence && c.After.IsZero() })
}

// awaitPositionOf waits until user's partition is committed up to sequence.
func (s *site) awaitPositionOf(t *testing.T, user string, sequence uint64) {
	t.Helper()
	p := wire.Partition(presence.MustUserID(user), s.config.Streams.Partitions)
	s.awaitCheckpoint(t, p, func(c wire.Checkpoint) bool { return c.Sequence >= sequence && c.After.IsZero() })
}

func (s *site) awaitCheckpoint(t *testing.T, partition int, fits func(wire.Checkpoint) bool) wire.Checkpoint {
	t.Helper()
	var found wire.Checkpoint
	eventually(t, fmt.Sprintf("such a checkpoint of partition %d", partition), func() bool {
		c, sequence, err := s.readCheckpoint(t.Context(), partition)
		found = c
		return err == nil && sequence > 0 && fits(c)
	})
	return found
}

// eventually waits until done reports true.
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
			t.Fatalf("no %s within %v\n%s", what, eventTimeout, allStacks())
		}
	}
}

// await waits for an event.
func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(eventTimeout):
		t.Fatalf("no %s within %v\n%s", what, eventTimeout, allStacks())
	}
	panic("unreachable")
}
