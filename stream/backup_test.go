package stream_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
)

// storeOf returns the directory that holds a stream.
func (s *site) storeOf(name string) string {
	return filepath.Join(s.server.Options().StoreDir, "jetstream", "$G", "streams", name)
}

// backUp copies a stream's files while the server is down.
func (s *site) backUp(t *testing.T, name string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), name)
	s.whileDown(t, func() {
		if err := os.CopyFS(copied, os.DirFS(s.storeOf(name))); err != nil {
			t.Fatal(err)
		}
	})
	return copied
}

// restore puts the files of a stream back to how backUp found them.
func (s *site) restore(t *testing.T, name, copied string) {
	t.Helper()
	s.whileDown(t, func() { s.putBack(t, name, copied) })
}

func (s *site) putBack(t *testing.T, name, copied string) {
	t.Helper()
	if err := os.RemoveAll(s.storeOf(name)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.storeOf(name), os.DirFS(copied)); err != nil {
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
	s.server = up
	eventually(t, "reconnect", func() bool { return s.nc.FlushTimeout(time.Second) == nil })
}

func onFile(c *stream.Config) { c.Streams.Storage = topology.File }
