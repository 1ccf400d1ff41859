package updates

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// ReadOn hands messages to a reader with room for all of them, and returns how many it
// puts there.
func ReadOn(ctx context.Context, messages []jetstream.Msg) (int, error) {
	r := &Reader{arriving: make(chan Update, len(messages))}
	for i, m := range messages {
		if err := r.receive(ctx, m, uint64(i+1)); err != nil {
			return 0, err
		}
	}
	return len(r.arriving), nil
}

// ReadSession has r read through one consumer until ctx ends. With the first update in
// its hand it closes inHand, and waits for release.
func (r *Reader) ReadSession(ctx context.Context, inHand, release chan struct{}) error {
	consumer, err := r.consumer(ctx)
	if err != nil {
		return err
	}
	return r.consume(ctx, slowConsumer{consumer, inHand, release})
}

// slowConsumer holds the first message up on its way to who reads.
type slowConsumer struct {
	jetstream.Consumer

	inHand, release chan struct{}
}

// Consume hands messages to handler.
func (c slowConsumer) Consume(handler jetstream.MessageHandler, opts ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	first := sync.OnceFunc(func() {
		close(c.inHand)
		<-c.release
	})
	return c.Consumer.Consume(func(m jetstream.Msg) {
		first()
		handler(m)
	}, opts...)
}
