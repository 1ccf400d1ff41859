package dendrite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	apiTimeout   = 5 * time.Second
	keyName      = "presence-router-key" // in the metadata of the consumer
	consumerText = "presence on its way to the presence router"
)

// consumer makes the durable consumer where it is missing. It holds one message at a
// time, so that no message overtakes another one, also if another process goes on.
func (s *Source) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream := s.config.stream()
	consumer, err := s.js.Consumer(ctx, stream, s.config.Name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		consumer, err = s.js.CreateConsumer(ctx, stream, s.consumerConfig(newKey()))
	case err == nil:
		key := idKey(consumer.CachedInfo().Config.Metadata[keyName])
		if key == "" { // Somebody else made it.
			key = newKey()
		}
		consumer, err = s.js.UpdateConsumer(ctx, stream, s.consumerConfig(key))
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("stream %s is missing: Dendrite makes it when it connects, if topic_prefix is the one that it has: %w", stream, err)
	}
	if err != nil {
		return nil, fmt.Errorf("make consumer %s of %s: %w", s.config.Name, stream, err)
	}
	info := consumer.CachedInfo()
	if !info.Created.Equal(s.made) {
		s.made, s.next = info.Created, 0
		s.becomes(ctx, false)
	}
	s.key = idKey(info.Config.Metadata[keyName])
	return consumer, nil
}

func (s *Source) consumerConfig(key idKey) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:        s.config.Name,
		Description:    consumerText,
		FilterSubject:  s.config.stream(),
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        s.config.AckWait,
		MaxAckPending:  1,
		MaxDeliver:     -1,
		HeadersOnly:    true,
		PriorityPolicy: jetstream.PriorityPolicyPinned,
		PriorityGroups: []string{group},
		PinnedTTL:      s.config.AckWait,
		Metadata:       map[string]string{keyName: string(key)},
	}
}
