package client_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// bound is how long anything that is waited for may take.
const bound = 30 * time.Second

// site is one deployment on a server of its own.
type site struct {
	server   *natsserver.Server
	js       jetstream.JetStream
	subjects wire.Subjects
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := newServer(t)
	s.applyTopology(t)
	return s
}

func (s *site) applyTopology(t *testing.T) {
	t.Helper()
	topology, err := topology.New(s.js, streams())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// newServer returns a site without streams.
func newServer(t *testing.T) *site {
	t.Helper()
	server := natstest.Run(t)
	subjects, err := wire.NewSubjects(client.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return &site{server: server, js: natstest.JetStream(t, natstest.Connect(t, server.URL())), subjects: subjects}
}

func streams() topology.Config {
	config := topology.DefaultConfig()
	config.Partitions = 4
	config.Updates.MaxBytes = -1
	return config
}

// newClient returns a Client that is connected to url.
func newClient(t *testing.T, url string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(natstest.Connect(t, url), client.DefaultPrefix, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func publisher(t *testing.T, c *client.Client, changes ...func(*client.PublisherConfig)) *client.Publisher {
	t.Helper()
	config := client.DefaultPublisherConfig()
	for _, change := range changes {
		change(&config)
	}
	p, err := c.Publisher(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// update returns the nth update of a user, without an ID.
func update(user string, n int) client.Update {
	return client.Update{State: presence.UserState{UserID: presence.MustUserID(user), State: presence.Online, LastActive: int64(n)}}
}

// identified is update with an ID.
func identified(user string, n int) client.Update {
	u := update(user, n)
	u.ID = fmt.Sprintf("%s-%d", user, n)
	return u
}

// stored returns the numbers of the updates that the stream holds, by user.
func (s *site) stored(t *testing.T) map[string][]int64 {
	t.Helper()
	consumer, err := s.js.OrderedConsumer(t.Context(), s.subjects.UpdatesStream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.FetchNoWait(100_000)
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[string][]int64)
	for m := range messages.Messages() {
		state, err := wire.DecodeUpdate(m.Data(), 0, len(m.Data()))
		if err != nil {
			t.Fatal(err)
		}
		user := state.UserID.String()
		numbers[user] = append(numbers[user], state.LastActive)
	}
	return numbers
}

// await waits for an event.
func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(bound):
		t.Fatalf("no %s within %v", what, bound)
	}
	panic("unreachable")
}
