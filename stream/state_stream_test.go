package stream_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/topology"
)

// awaitState waits until the newest state of user is data, and returns it as it is
// stored.
func (s *site) awaitState(t *testing.T, user string, data string) *jetstream.RawStreamMsg {
	t.Helper()
	states := s.stream(t, s.subjects.StateStream())
	var found *jetstream.RawStreamMsg
	eventually(t, "newest state of "+user, func() bool {
		m, err := states.GetLastMsgForSubject(t.Context(), s.subjects.State(presence.MustUserID(user)))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Fatal(err)
		}
		found = m
		return err == nil && string(m.Data) == data
	})
	return found
}

func TestStateStreamHoldsTheNewestUpdateOfEachUser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const odd = "@jo.ann*>:somewhere.org"
	s.publish(t, bob, 1)
	s.publish(t, odd, 2)
	s.publish(t, bob, 3)
	s.awaitState(t, odd, update(odd, 2))
	m := s.awaitState(t, bob, update(bob, 3))
	if m.Subject != "presence.state.example%2Ecom.bob" {
		t.Errorf("subject is %s, want presence.state.example%%2Ecom.bob", m.Subject)
	}
	info, err := s.stream(t, s.subjects.StateStream()).Info(t.Context())
	if err != nil || info.State.Msgs != 2 {
		t.Errorf("the stream holds %d messages (%v), want one for each of two users", info.State.Msgs, err)
	}
}

// What a source does to subjects is part of the stream: plan, apply and verify see it.
func TestTopologyComparesTransformsOfSources(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	apply(t, js, config)
	edit(t, js, "PRESENCE_STATE", func(c *jetstream.StreamConfig) {
		c.Sources[0].SubjectTransforms[0].Destination = "presence.state.{{wildcard(1)}}.{{wildcard(4)}}"
	})
	want := "refuse PRESENCE_STATE: sources is PRESENCE_UPDATES presence.*.*.*.* to presence.state.{{wildcard(1)}}.{{wildcard(4)}}, " +
		"configured is PRESENCE_UPDATES presence.*.*.*.* to presence.state.{{wildcard(3)}}.{{wildcard(4)}}: " +
		"messages would be copied again or not at all"
	if got := plan(t, js, config); len(got) != 1 || got[0] != want {
		t.Errorf("Plan = %v, want %s", got, want)
	}
	if _, err := newTopology(t, js, config).Apply(t.Context()); !errors.Is(err, topology.ErrRefused) {
		t.Errorf("Apply = %v, want %v", err, topology.ErrRefused)
	}
	if err := newTopology(t, js, config).Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "stream PRESENCE_STATE: sources is") {
		t.Errorf("Verify = %v, want that the sources differ", err)
	}
}
