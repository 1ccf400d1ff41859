package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

type (
	states     = []presence.UserState
	recipients = map[presence.UserID]states
)

// routes are what a worker of a test is asked. What is nil chooses nobody.
type routes struct {
	usersForStates  func(states) recipients
	interestedUsers func(presence.UserID) routing.Interest
}

func (r routes) UsersForStates(_ context.Context, s states) (recipients, error) {
	if r.usersForStates == nil {
		return nil, nil
	}
	return r.usersForStates(s), nil
}

func (r routes) InterestedUsers(_ context.Context, user presence.UserID) (routing.Interest, error) {
	if r.interestedUsers == nil {
		return routing.Users(), nil
	}
	return r.interestedUsers(user), nil
}

// work runs a worker that asks r, until the test ends.
func (s *site) work(t *testing.T, r routes) {
	t.Helper()
	config := stream.Config{
		ServerNames: []presence.ServerName{presence.MustServerName("example.com")},
		Streams:     streams(),
		Worker:      stream.DefaultWorkerConfig(),
	}
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "test", Router: r, Timeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	worker, err := stream.NewWorker(natstest.Connect(t, s.server.URL(), nats.ReconnectBufSize(-1)), dispatcher, config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := await(t, done, "end of the worker"); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "worker that is ready", func() bool { return worker.Ready() == nil })
}

// eventually waits until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(bound)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("no %s within %v", what, bound)
		}
	}
}

// reply is what a worker answers to a query.
type reply struct {
	code   string // of an error, "" for none
	answer []byte
	none   bool // as of a worker that is killed with the request
}

// play answers a query with one reply after the other, and the last one for ever,
// as a worker in a state that a real one is in for a moment only.
func (s *site) play(t *testing.T, query string, replies ...reply) {
	t.Helper()
	nc := natstest.Connect(t, s.server.URL())
	_, err := nc.QueueSubscribe(s.subjects.Query(query), wire.ServiceName, func(m *nats.Msg) {
		now := replies[0]
		if len(replies) > 1 {
			replies = replies[1:]
		}
		if now.none {
			return
		}
		answer := nats.NewMsg(m.Reply)
		if answer.Data = now.answer; now.code != "" {
			answer.Header.Set(wire.ErrorCodeHeader, now.code)
			answer.Header.Set(wire.ErrorHeader, "not now")
		}
		if err := m.RespondMsg(answer); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}
