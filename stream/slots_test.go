package stream_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

// While commits do not come through, what arrives waits, and is then routed together.
func TestBatchesGrowWhileCommitsWait(t *testing.T) {
	t.Parallel()
	const staged, waiting = 3, 10
	var lossy atomic.Bool
	var arrived atomic.Int64
	p := &proxy{
		fromClient: func(frame []byte) ([]byte, verdict) {
			if lossy.Load() && isCommit(frame) {
				return frame, swallow
			}
			return frame, pass
		},
		fromServer: func(frame []byte) ([]byte, verdict) {
			if isUpdate(frame) {
				arrived.Add(1)
			}
			return frame, pass
		},
	}
	s := newSite(t, func(c *stream.Config) { c.Streams.Deliveries.FastIngest = false }) // which routes anew what did not come through
	s.url = startProxy(t, s.url, p)
	sizes := make(chan int, 1+staged+waiting)
	reader := []presence.UserID{presence.MustUserID(alice)}
	w := s.start(t, routerOf(t, func(_ context.Context, updates states) (answer, error) {
		sizes <- len(updates)
		return everybody(reader, updates), nil
	}))
	user := func(n int) string { return fmt.Sprintf("@user%d:example.com", n) }

	s.awaitPosition(t, s.publish(t, user(0), 0))
	await(t, sizes, "routing of the first update")
	lossy.Store(true)
	for i := range staged {
		s.publish(t, user(1+i), 0)
		await(t, sizes, "routing of an update that can be staged")
	}
	last := uint64(0)
	for i := range waiting {
		last = s.publish(t, user(1+staged+i), 0)
	}
	eventually(t, "arrival of all updates", func() bool { return arrived.Load() == 1+staged+waiting })
	lossy.Store(false)
	s.awaitPosition(t, last)
	w.stop(t)
	close(sizes)
	var got []int
	for size := range sizes {
		got = append(got, size)
	}
	if !slices.Equal(got, []int{waiting}) {
		t.Errorf("batches of %v were routed, want one of %d", got, waiting)
	}
	wantOnce(t, s.deliveries(t), 1, last, alice)
}
