package stream_test

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/wire"
)

// The server stopped when it had stored a checkpoint and not deleted the one before, and a
// message that no worker wrote follows: the newer checkpoint counts.
func TestNewerOfTwoCheckpointsCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	older := s.awaitPosition(t, s.publishMany(t, 0, 3))
	s.publishRaw(t, s.subjects.Checkpoint(1), string(wire.AppendCheckpoint(nil, older)), nats.Header{"Nats-Rollup": {"sub"}})
	s.awaitPosition(t, s.publishMany(t, 3, 3))
	w.stop(t)
	s.forge(t, s.subjects.Checkpoint(0), bob, 7)
	s.awaitForged(t, 0)
	found := false
	first, moved := []byte(`{"seq":1,"next_by_subj":"presence.checkpoint.0"}`), []byte(`{"seq":1,"next_by_subj":"presence.checkpoint.1"}`)
	s.url = startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		found = found || bytes.Contains(frame, first)
		return bytes.Replace(frame, first, moved, 1), pass // No other way has two of them on one subject.
	}})
	w = s.start(t, toEach(t, alice))
	last := s.publishMany(t, 7, 3)
	s.awaitPosition(t, last)
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, last, alice)
	if !found {
		t.Error("the worker did not look at the oldest message")
	}
}
