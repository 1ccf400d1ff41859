package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	reconnectWait = 20 * time.Millisecond

	connectTimeout = time.Minute      // a busy machine is no failure
	answerTimeout  = 20 * time.Second // an answer that a server's end has lost is not waited for much longer
)

// Connect returns a connection that is closed when the test ends. It comes back
// within milliseconds of its server, however long that is away; options have the
// last word.
func Connect(tb testing.TB, url string, options ...nats.Option) *nats.Conn {
	tb.Helper()
	all := append([]nats.Option{
		nats.Name(tb.Name()),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
	}, options...)
	nc, err := nats.Connect(url, all...)
	if err != nil {
		tb.Fatalf("connect to %s: %v", url, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// JetStream returns the JetStream of nc, which waits for answers with patience.
func JetStream(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(answerTimeout))
	if err != nil {
		tb.Fatalf("make JetStream client: %v", err)
	}
	return js
}
