package sender_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/presence-router/presence-router/stream/sender"
)

// servers is where batches go. It takes them until it is told otherwise.
type servers struct {
	tried chan sender.Batch // every batch that is handed over, as far as there is room
	taken chan sender.Batch // every batch that was sent

	answer atomic.Pointer[func(context.Context, sender.Batch) error]
	inside sync.Map // destinations that a batch is under way to
	mixed  atomic.Bool
}

func newServers() *servers {
	return &servers{tried: make(chan sender.Batch, 1000), taken: make(chan sender.Batch, 1000)}
}

// answers has batches answered so from now on.
func (s *servers) answers(answer func(context.Context, sender.Batch) error) { s.answer.Store(&answer) }

// holdsUp has batches neither taken nor refused until it is released.
func (s *servers) holdsUp() (release func()) {
	released := make(chan struct{})
	s.answers(func(ctx context.Context, _ sender.Batch) error {
		select {
		case <-released:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { close(released) }
}

// takes has batches taken from now on.
func (s *servers) takes() { s.answer.Store(nil) }

func (s *servers) send(ctx context.Context, b sender.Batch) error {
	if _, busy := s.inside.LoadOrStore(b.Destination, true); busy {
		s.mixed.Store(true)
	}
	defer s.inside.Delete(b.Destination)
	select {
	case s.tried <- b:
	default:
	}
	if answer := s.answer.Load(); answer != nil {
		if err := (*answer)(ctx, b); err != nil {
			return err
		}
	}
	s.taken <- b
	return nil
}

var errRefused = errors.New("refused")

func unreachable(context.Context, sender.Batch) error { return &sender.Unsent{Err: errRefused} }

func refuse(context.Context, sender.Batch) error { return errRefused }

// next waits for the next batch that is sent.
func (s *servers) next(t *testing.T) sender.Batch {
	t.Helper()
	return await(t, s.taken, "batch")
}

// wantNone fails the test where another batch was sent.
func (s *servers) wantNone(t *testing.T) {
	t.Helper()
	select {
	case b := <-s.taken:
		t.Errorf("sent is %s, want nothing", show(b))
	default:
	}
}

// wantBatch fails the test where b is not one EDU to somewhere.org with one entry.
func wantBatch(t *testing.T, b sender.Batch, entry string) {
	t.Helper()
	if got, want := show(b), one("somewhere.org", entry); got != want {
		t.Errorf("sent is %s, want %s", got, want)
	}
}

// one is what show makes of a batch of one entry.
func one(destination, entry string) string { return destination + ` {"push":[` + entry + `]}` }

func show(b sender.Batch) string {
	return b.Destination.String() + " " + string(bytes.Join(rawContents(b), []byte(" ")))
}

func rawContents(b sender.Batch) [][]byte {
	raw := make([][]byte, len(b.Contents))
	for i, content := range b.Contents {
		raw[i] = content
	}
	return raw
}

// entry is what bob's state is sent as where it says text.
func entry(text string) string {
	return fmt.Sprintf(`{"currently_active":false,"presence":"online","status_msg":%q,"user_id":%q}`, text, bob)
}

// users returns whose states are in b.
func users(t *testing.T, b sender.Batch) []string {
	t.Helper()
	var all []string
	for _, content := range b.Contents {
		var edu struct {
			Push []struct {
				UserID string `json:"user_id"`
			} `json:"push"`
		}
		if err := json.Unmarshal(content, &edu); err != nil {
			t.Fatalf("decode %s: %v", content, err)
		}
		for _, p := range edu.Push {
			all = append(all, p.UserID)
		}
	}
	return all
}
