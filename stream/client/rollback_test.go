package client_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
)

// While a quiet reader is away, the stream loses its end and gets another one that
// reaches further than the reader's position, which is of what is lost.
func TestQuietReaderNoticesAStreamThatWasRolledBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, alice, 1, online(bob, 1))
	copied := t.TempDir()
	s.whileDown(t, func() { copyTo(t, copied, s.deliveriesStore()) })
	var away atomic.Bool
	proxy := &natstest.Proxy{FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
		if away.Load() {
			return frame, natstest.Sever
		}
		return frame, natstest.Pass
	}}
	v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
	c := newClient(t, proxy.Start(t, s.server.URL()), client.WithLookUps(10*time.Millisecond))
	news := read(t, func(ctx context.Context) iter.Seq2[client.Latest, error] { return c.Follow(ctx, v) })
	news.want(t)
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		for _, want := range []uint64{11, 12, 13} {
			if got, err, _ := news.next(); err != nil || got.Sequence != want {
				t.Errorf("news is %v, %v, want update %d", got, err, want)
				return
			}
		}
	})
	s.deliver(t, eva, 1, online(bob, 2))
	lost := s.deliver(t, eva, 1, online(bob, 3))
	eventually(t, "position at the end of the stream", func() bool { return v.Position().Sequence == lost })
	away.Store(true)
	s.whileDown(t, func() {
		if err := os.RemoveAll(s.deliveriesStore()); err != nil {
			t.Fatal(err)
		}
		copyTo(t, s.deliveriesStore(), copied)
	})
	for n := range uint64(3) {
		if got := s.deliver(t, alice, 1, online(bob, n+11)); n == 1 && got != lost {
			t.Errorf("delivery has sequence %d, want %d as one that is lost", got, lost)
		}
	}
	away.Store(false)
}

// deliveriesStore returns the directory that holds the deliveries stream.
func (s *site) deliveriesStore() string {
	return filepath.Join(s.server.Options().StoreDir, "jetstream", "$G", "streams", s.subjects.DeliveriesStream())
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// whileDown restarts the server, and calls f while it is down.
func (s *site) whileDown(t *testing.T, f func()) {
	t.Helper()
	s.server.Shutdown()
	f()
	up, err := natsserver.Start(s.server.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Shutdown)
	s.server, s.js = up, natstest.JetStream(t, natstest.Connect(t, up.URL()))
}
