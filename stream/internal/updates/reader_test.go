package updates_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

// published returns a server with the streams of one partition, and n updates in it.
func published(t *testing.T, n int) (jetstream.JetStream, wire.Subjects) {
	t.Helper()
	config := topology.DefaultConfig()
	config.Partitions, config.Storage = 1, topology.Memory
	config.Updates.MaxBytes, config.Deliveries.MaxBytes, config.Dead.MaxBytes, config.State.MaxBytes = -1, -1, -1, -1
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	streams, err := topology.New(js, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	subjects, err := wire.NewSubjects(config.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := js.Publish(t.Context(), subjects.Update(presence.MustUserID("@bob:example.com")), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	return js, subjects
}

// A reader hands nothing on once its session has ended: a message may be missing before
// the one that comes.
func TestReaderHandsNothingOnAfterTheEnd(t *testing.T) {
	t.Parallel()
	const stored = 50
	js, subjects := published(t, stored)
	messages := natstest.Stored(t, js, subjects.UpdatesStream(), subjects.StoredUpdates())
	ended, end := context.WithCancel(t.Context())
	end()
	for ctx, want := range map[context.Context]int{t.Context(): stored, ended: 0} {
		if got, err := updates.ReadOn(ctx, messages); err != nil || got != want {
			t.Errorf("the reader hands on %d updates, %v, want %d", got, err, want)
		}
	}
}

// A session ends when no update is handed on any more.
func TestSessionWaitsForTheUpdateInHand(t *testing.T) {
	t.Parallel()
	const patience = time.Minute
	js, subjects := published(t, 1)
	log := slog.New(slog.DiscardHandler)
	r := updates.New(updates.Config{
		JS: js, Subjects: subjects, Continuity: checkpoint.NewContinuity(js, subjects, log), Ahead: 1, Stall: wait.NewStall(log, "reading updates"),
	})
	ctx, end := context.WithCancel(t.Context())
	defer end()
	inHand, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- r.ReadSession(ctx, inHand, release) }()
	select {
	case <-inHand:
	case <-time.After(patience):
		t.Fatalf("no update within %v", patience)
	}
	end()
	select {
	case err := <-ended:
		t.Errorf("the session ends with an update in hand: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(release)
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the session ends with %v, want that of its context", err)
		}
	case <-time.After(patience):
		t.Fatalf("the session does not end within %v", patience)
	}
}
