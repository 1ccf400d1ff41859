package client

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// DefaultPrefix is the first token of the subjects of a deployment that does not
// configure streams.subject_prefix.
const DefaultPrefix = "presence"

// Client publishes to, asks and reads from one presence router. It is safe for use
// by several goroutines, and holds nothing that has to be closed.
type Client struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects

	queryTimeout  time.Duration
	replayTimeout time.Duration
	lookUps       time.Duration // between two look-ups of a reader
	apiPrefix     string        // of the JetStream API
	consumerName  string        // of a reader; "" for one that is made up each time
}

// New returns a Client of the deployment whose subjects begin with prefix. The
// connection stays the caller's; it should reconnect for ever
// (nats.MaxReconnects(-1)), and everything here waits while it is away. All answers come
// to its inboxes, below nats.CustomInboxPrefix if it has one: workers answer queries
// there if their worker.queries.reply_prefixes has that prefix or one that it is below.
func New(nc *nats.Conn, prefix string, opts ...Option) (*Client, error) {
	subjects, err := wire.NewSubjects(prefix)
	if err != nil {
		return nil, err
	}
	c := &Client{
		nc: nc, subjects: subjects, apiPrefix: wire.DefaultAPIPrefix,
		queryTimeout: 10 * time.Second, replayTimeout: 90 * time.Second, lookUps: time.Minute,
	}
	for _, set := range opts {
		set(c)
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if c.js, err = jetstream.NewWithAPIPrefix(nc, c.apiPrefix); err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return c, nil
}
