package client

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	heartbeat       = 2 * time.Second
	expiry          = 20 * time.Second
	inactive        = 30 * time.Second // after which the server deletes the consumer of a reader that is gone
	readAhead       = 500
	consumerPurpose = "reads deliveries"
)

// temporary makes a consumer that needs no acknowledgement. One of the same name,
// which a reader that was killed left behind, makes room for it.
func (c *Client) temporary(ctx context.Context, filter string, start jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	start.Description = consumerPurpose
	start.FilterSubject = filter
	start.AckPolicy = jetstream.AckNonePolicy
	start.MemoryStorage = true
	start.Replicas = 1
	start.InactiveThreshold = inactive
	if start.Name = c.consumerName; start.Name != "" {
		c.delete(ctx, start.Name)
	}
	return c.consumer(ctx, start)
}

func (c *Client) consumer(ctx context.Context, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	name := c.subjects.DeliveriesStream()
	consumer, err := c.js.CreateConsumer(ctx, name, config)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return consumer, nil
}

// delete spares the server the wait for the inactivity threshold.
func (c *Client) delete(ctx context.Context, consumer string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.js.DeleteConsumer(ctx, c.subjects.DeliveriesStream(), consumer)
}

// open begins to pull, at most ahead messages before the reader wants them.
func open(consumer jetstream.Consumer, ahead int) (jetstream.MessagesContext, error) {
	messages, err := consumer.Messages(jetstream.PullMaxMessages(ahead), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(expiry))
	if err != nil {
		return nil, fmt.Errorf("read from consumer %s: %w", consumer.CachedInfo().Name, err)
	}
	return messages, nil
}
