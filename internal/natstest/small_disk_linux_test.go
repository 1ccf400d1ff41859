package natstest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

// TestSmallDisk has a server on a disk that gets full: it stores nothing more, and
// has what it had when there is room again and it is started again.
func TestSmallDisk(t *testing.T) {
	t.Parallel()
	disk := natstest.NewSmallDisk(t, 8<<20)
	p := natstest.StartProcess(t, natstest.ProcessOptions{Binary: build(t), StoreDir: filepath.Join(disk.Dir(), "store")})
	nc := natstest.Connect(t, p.URL())
	js := natstest.JetStream(t, nc)
	publish(t, nc)
	if err := disk.Fill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(disk.Dir(), "more"), make([]byte, 8<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v, want %v", err, syscall.ENOSPC)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // The server does not answer.
	defer cancel()
	if ack, err := js.Publish(ctx, "kept", make([]byte, 64<<10)); err == nil {
		t.Errorf("the server stored message %d on a full disk", ack.Sequence)
	}
	if err := disk.Free(); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOneMessage(t, natstest.Connect(t, p.URL()))
}
