package stream_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// An update that is half done may be of a batch with others: those that have it already
// still get the others.
func TestHalfDoneUpdateOfABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := readers(3)
	s.publishMany(t, 0, 3)
	messages := natstest.Stored(t, s.js, s.subjects.UpdatesStream(), s.subjects.StoredUpdates())
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, all...))})
	for epoch, want := range map[int64]map[string][]uint64{
		0: {all[0]: {2, 3}, all[1]: {2, 3}, all[2]: {1, 2, 3}},
		1: {all[0]: {1, 2, 3}, all[1]: {1, 2, 3}, all[2]: {1, 2, 3}}, // Another update has that sequence by now.
	} {
		found, err := w.CarryOn(t.Context(), messages, presence.MustUserID(all[1]), epoch)
		if err != nil {
			t.Fatal(err)
		}
		received := make(map[string][]uint64)
		for _, d := range found {
			received[d.Recipient.String()] = append(received[d.Recipient.String()], d.Sequences...)
		}
		if !reflect.DeepEqual(received, want) {
			t.Errorf("the rest of a batch is %v where the update was of epoch %d, want %v", received, epoch, want)
		}
	}
}

// What routers answer when a worker has to end does not count: it may be nothing.
func TestAnswerThatWasCutShortDoesNotCount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishMany(t, 0, 3)
	messages := natstest.Stored(t, s.js, s.subjects.UpdatesStream(), s.subjects.StoredUpdates())
	w := s.newWorker(t, []routing.Registration{registration(routerOf(t, func(ctx context.Context, _ states) (answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))})
	ended, end := context.WithCancel(t.Context())
	end()
	if found, err := w.CarryOn(ended, messages, presence.UserID{}, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("a worker that ends has %d deliveries ready, and %v, want no unit", len(found), err)
	}
}
