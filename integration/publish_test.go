package integration_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/routing/presence"
)

const publishers = 32

// publish stores updates, in the order of each user, and notes their sequences. It
// returns when all are acknowledged.
func (d *deployment) publish(updates []integration.Update) {
	d.t.Helper()
	<-d.publishing(updates, 0)
}

// publishing is publish in the background, spread over a window of time: the
// channel is closed when it is done.
func (d *deployment) publishing(updates []integration.Update, window time.Duration) <-chan struct{} {
	var all sync.WaitGroup
	began := time.Now()
	for p := range publishers {
		all.Go(func() {
			for i := range updates {
				if publisherOf(updates[i].User) != p {
					continue
				}
				waitUntil(d.t.Context(), began.Add(window*time.Duration(i)/time.Duration(len(updates))))
				if err := d.publishOne(&updates[i]); err != nil {
					d.t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	return done
}

func publisherOf(user presence.UserID) int {
	name := fnv.New32a()
	_, _ = name.Write([]byte(user.String()))
	return int(name.Sum32() % publishers)
}

func waitUntil(ctx context.Context, when time.Time) {
	timer := time.NewTimer(time.Until(when))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// publishOne tries until the server has the update; its message ID keeps the
// server from storing it twice.
func (d *deployment) publishOne(u *integration.Update) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), commitTimeout)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, time.Second)
		ack, err := d.js.Publish(attempt, d.subjects.Update(u.User), u.JSON,
			jetstream.WithMsgID(fmt.Sprint("number-", u.Number)), jetstream.WithExpectStream(d.subjects.UpdatesStream()))
		end()
		if err == nil {
			u.Sequence = ack.Sequence
			return nil
		}
		waitUntil(ctx, time.Now().Add(poll))
		if ctx.Err() != nil {
			return fmt.Errorf("publish update %d: %w", u.Number, err)
		}
	}
}

// publishRaw stores what need not be an update, and returns its sequence.
func (d *deployment) publishRaw(subject string, data []byte) uint64 {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), commitTimeout)
	defer cancel()
	ack, err := d.js.Publish(ctx, subject, data)
	if err != nil {
		d.t.Fatalf("publish to %s: %v", subject, err)
	}
	return ack.Sequence
}
