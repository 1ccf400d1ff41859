package sender_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/sender"
)

// A batch that did not arrive comes back while newer states wait, one of them older than
// the other. The newest is sent, and everything it stands for is acknowledged.
func TestNewestOfBatchAndWhatWaitsIsSent(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := make(chan struct{})
	far.answers(func(ctx context.Context, b sender.Batch) error {
		<-release
		return unreachable(ctx, b)
	})
	c := config()
	c.AckWait = time.Hour // What is not acknowledged stays so.
	made := s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	s.commit(t, "@joe:somewhere.org", says(1, "first")) // The batch under way stands for it as well.
	s.commit(t, eva, says(3, "third"))
	s.commit(t, eva, says(2, "second"))
	made.awaitHeld(t, 4)
	far.takes()
	close(release)
	wantBatch(t, far.next(t), entry("third"))
	s.awaitDone(t)
	far.wantNone(t)
}

// What was sent is remembered for a period more than the one it was sent in.
func TestSentStateIsRememberedOverAPeriod(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	c := config()
	c.MaxStates = 2 // So many are sent in a period.
	s.run(t, c, far.send)
	s.commit(t, eva, says(5, "fifth"))
	wantBatch(t, far.next(t), entry("fifth"))
	for user := range c.MaxStates {
		s.commit(t, eva, of(user, `"state":"online"`))
		far.next(t)
	}
	s.commit(t, eva, says(4, "fourth"))
	s.awaitDone(t)
	far.wantNone(t)
}

// However often an acknowledgement is tried while the server cannot be reached, it is
// tried again when it can.
func TestAcknowledgementOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	c := config()
	c.AckWait = time.Hour // What is not acknowledged stays so.
	var away, back atomic.Bool
	var tries atomic.Int32
	proxy := &natstest.Proxy{FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
		if back.Load() {
			return frame, natstest.Pass
		}
		if away.Load() {
			tries.Add(1)
			return frame, natstest.Sever
		}
		if bytes.HasPrefix(frame, []byte("PUB $JS.ACK.")) && bytes.HasSuffix(frame, []byte("\r\n+ACK\r\n")) {
			away.Store(true)
			return frame, natstest.Sever
		}
		return frame, natstest.Pass
	}}
	nc := natstest.Connect(t, proxy.Start(t, s.server.URL()), nats.ReconnectBufSize(-1), nats.ReconnectWait(100*time.Millisecond))
	made, err := sender.New(nc, c, far.send)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, made)
	s.commit(t, eva, says(1, "first"))
	wantBatch(t, far.next(t), entry("first"))
	eventually(t, "outage of some length", func() bool { return tries.Load() >= 12 })
	back.Store(true)
	s.awaitDone(t)
	far.wantNone(t)
}
