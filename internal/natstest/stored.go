package natstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	readTimeout = time.Minute     // bound on reading what a stream holds
	tryTimeout  = readTimeout / 4 // bound on a try: in a cluster that lost a server, a consumer may stay without a leader
	readPause   = time.Second     // without a message, after which the consumer is looked at
	lookTimeout = 5 * time.Second // bound on one look: in a cluster its answer may be lost
)

// Stored returns the messages that a stream holds by now on the subjects that
// filter covers, in order.
func Stored(tb testing.TB, js jetstream.JetStream, stream, filter string) []jetstream.Msg {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), readTimeout)
	defer cancel()
	for {
		found, err := tryStored(ctx, js, stream, filter)
		if err == nil {
			return found
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			tb.Fatalf("read %s, after %d messages: %v", stream, len(found), err)
		}
	}
}

// tryStored reads with a consumer of its own, which the server drops later if it cannot be
// deleted: it takes 1,000 for each stream.
func tryStored(ctx context.Context, js jetstream.JetStream, stream, filter string) ([]jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	consumer, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: readTimeout,
	})
	if err != nil {
		return nil, err
	}
	found, err := readAll(ctx, consumer)
	return found, errors.Join(err, js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name))
}

// readAll returns what is pending for a consumer that nobody has read from. In a
// cluster its first pull may be lost: without a heartbeat the next one is sent.
func readAll(ctx context.Context, consumer jetstream.Consumer) ([]jetstream.Msg, error) {
	if consumer.CachedInfo().NumPending == 0 {
		return nil, nil
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(readPause))
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	var found []jetstream.Msg
	for {
		m, err := messages.Next(jetstream.NextMaxWait(readPause))
		done := false
		switch {
		case err == nil:
			found = append(found, m)
			done, err = isLast(m)
		case errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoHeartbeat):
			done, err = isRead(ctx, consumer, len(found))
		}
		if err != nil || done {
			return found, err
		}
	}
}

func isLast(m jetstream.Msg) (bool, error) {
	meta, err := m.Metadata()
	return err == nil && meta.NumPending == 0, err
}

// isRead reports whether nothing is left to read: what was pending may have expired.
func isRead(ctx context.Context, consumer jetstream.Consumer, found int) (bool, error) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	info, err := consumer.Info(look)
	if look.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.NumPending == 0 && info.Delivered.Consumer == uint64(found), nil //nolint:gosec // It is a length.
}

// Count returns how many messages a stream holds on the subjects that filter covers.
func Count(tb testing.TB, js jetstream.JetStream, stream, filter string) int {
	tb.Helper()
	s, err := js.Stream(tb.Context(), stream)
	if err != nil {
		tb.Fatalf("look up %s: %v", stream, err)
	}
	info, err := s.Info(tb.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		tb.Fatalf("count messages of %s: %v", stream, err)
	}
	total := uint64(0)
	for _, n := range info.State.Subjects {
		total += n
	}
	return int(total)
}
