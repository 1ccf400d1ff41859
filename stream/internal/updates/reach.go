package updates

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
)

// noPull is what the server refuses as soon as it takes it for a pull.
const noPull = "{no pull}"

// reach returns once the pulls of a new consumer get to the server that keeps it. In
// a cluster, the answer to its making may overtake the news between servers of who
// takes its pulls. A pull that overtakes them as well is lost without an answer, and
// only the heartbeats that stay out would tell, seconds later.
func (r *Reader) reach(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	inbox := r.nc.NewInbox()
	answers, err := r.nc.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("reach the consumer of partition %d: %w", r.Partition.Number, err)
	}
	defer answers.Unsubscribe() //nolint:errcheck // The connection may be gone by then.
	subject := fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.%s.%s", r.Subjects.UpdatesStream(), consumer.CachedInfo().Name)
	for retry := wait.NewBackOff(); ; {
		if err := r.nc.PublishRequest(subject, inbox, []byte(noPull)); err != nil {
			return fmt.Errorf("reach the consumer of partition %d: %w", r.Partition.Number, err)
		}
		if answered(ctx, answers, retry.NextBackOff()) {
			return nil
		}
		if wait.Ended(ctx) {
			return fmt.Errorf("reach the consumer of partition %d: %w", r.Partition.Number, context.Cause(ctx))
		}
	}
}

// answered reports whether an answer comes within a time. That nobody takes pulls
// is none.
func answered(ctx context.Context, answers *nats.Subscription, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !wait.Ended(ctx) {
		_, err := answers.NextMsgWithContext(ctx)
		switch {
		case err == nil:
			return true
		case !errors.Is(err, nats.ErrNoResponders):
			<-ctx.Done() // Such as without a connection: asking at once would be of no use.
		}
	}
	return false
}
