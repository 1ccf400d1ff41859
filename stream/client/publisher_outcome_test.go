package client_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/client"
)

func TestPublisherTellsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, verdict := range []natstest.Verdict{natstest.Swallow, natstest.Sever} {
		s := newSite(t)
		proxy := &natstest.Proxy{FromServer: once(isAck, verdict)}
		p := publisher(t, newClient(t, proxy.Start(t, s.server.URL())), quick)
		got := publishOne(t, p, update(bob, 1))
		var failed *client.PublishError
		if !errors.Is(got.err, client.ErrUnknownOutcome) || !errors.As(got.err, &failed) || failed.User.String() != bob {
			t.Errorf("promise is told %v, want that the outcome is unknown for %s", got.err, bob)
		}
		if got := publishOne(t, p, update(bob, 2)); got.err != nil || got.receipt != (client.Receipt{Sequence: 2}) {
			t.Errorf("the next update has %+v, want sequence 2", got)
		}
		if err := p.Close(t.Context()); !errors.Is(err, client.ErrUnknownOutcome) {
			t.Errorf("Close() = %v, want the update of unknown outcome", err)
		}
		if got, want := s.stored(t), (map[string][]int64{bob: {1, 2}}); !reflect.DeepEqual(got, want) {
			t.Errorf("the stream holds %v, want %v: no update twice", got, want)
		}
	}
}

// The answer to the first attempt is lost, and another one is refused: the first may
// have worked.
func TestPublisherRemembersAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	lose := once(isAck, natstest.Swallow)
	proxy := &natstest.Proxy{FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
		frame, verdict := lose(frame)
		if verdict == natstest.Swallow {
			if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
				t.Error(err)
			}
		}
		return frame, verdict
	}}
	p := publisher(t, newClient(t, proxy.Start(t, s.server.URL())), quick)
	got := publishOne(t, p, identified(bob, 1))
	if !errors.Is(got.err, client.ErrUnknownOutcome) || !errors.Is(got.err, jetstream.ErrStreamNotFound) {
		t.Errorf("promise is told %v, want that the stream is missing, and the outcome unknown", got.err)
	}
	if err := p.Close(t.Context()); !errors.Is(err, client.ErrUnknownOutcome) {
		t.Errorf("Close() = %v, want the update of unknown outcome", err)
	}
}

// A Publisher that ends tells of an update that was sent and has no answer that it may be
// stored, and of one that waits behind it that it is not.
func TestPublisherEndsBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	answered := make(chan struct{})
	proxy := &natstest.Proxy{FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
		if isAck(frame) {
			close(answered)
			return frame, natstest.Swallow
		}
		return frame, natstest.Pass
	}}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	p, err := newClient(t, proxy.Start(t, s.server.URL())).Publisher(ctx, client.DefaultPublisherConfig())
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make(chan error, 2)
	for n := range cap(outcomes) {
		if err := p.Publish(t.Context(), update(bob, n+1), func(_ client.Receipt, err error) { outcomes <- err }); err != nil {
			t.Fatal(err)
		}
	}
	await(t, answered, "answer to the first update")
	end()
	for n, isUnknown := range []bool{true, false} {
		err := await(t, outcomes, "outcome")
		if !errors.Is(err, client.ErrClosed) || errors.Is(err, client.ErrUnknownOutcome) != isUnknown {
			t.Errorf("promise %d is told %v, want that the publisher is closed, and the outcome unknown: %t", n+1, err, isUnknown)
		}
	}
}
