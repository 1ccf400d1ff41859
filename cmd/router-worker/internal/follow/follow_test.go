package follow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/follow"
	"github.com/presence-router/presence-router/internal/natstest"
)

const bound = time.Minute

var errStop = errors.New("stop")

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

func makeStream(tb testing.TB, js jetstream.JetStream) {
	tb.Helper()
	if _, err := js.CreateStream(tb.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		tb.Fatal(err)
	}
}

// publish publishes messages that hold the numbers from first on.
func publish(tb testing.TB, js jetstream.JetStream, first, count int) {
	tb.Helper()
	for n := first; n < first+count; n++ {
		if _, err := js.Publish(tb.Context(), fmt.Sprintf("s.%d", n%2), fmt.Append(nil, n)); err != nil {
			tb.Fatal(err)
		}
	}
}

// read starts r and returns what it reads.
func read(tb testing.TB, r *follow.Reader) <-chan string {
	tb.Helper()
	read := make(chan string)
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func(m jetstream.Msg) error {
			select {
			case read <- string(m.Data()):
			case <-ctx.Done():
			}
			return nil
		})
	}()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run() = %v after the end of its context, want nil", err)
		}
	})
	return read
}

func want(tb testing.TB, read <-chan string, numbers ...int) {
	tb.Helper()
	for _, n := range numbers {
		select {
		case got := <-read:
			if got != strconv.Itoa(n) {
				tb.Fatalf("read is message %s, want %d", got, n)
			}
		case <-time.After(bound):
			tb.Fatalf("no message %d after %v", n, bound)
		}
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	makeStream(t, js)
	publish(t, js, 1, 5)
	now, err := follow.FromNow(t.Context(), js, "S", "s.>")
	if err != nil {
		t.Fatal(err)
	}
	fromNow, fromOldest := read(t, now), read(t, follow.FromOldest(js, "S", "s.0"))
	want(t, fromOldest, 2, 4)
	publish(t, js, 6, 3)
	want(t, fromOldest, 6, 8)
	want(t, fromNow, 6, 7, 8)
}

func TestReaderOutlivesItsServer(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	js := natstest.JetStream(t, natstest.Connect(t, server.URL()))
	makeStream(t, js)
	messages := read(t, follow.FromOldest(js, "S", "s.>"))
	publish(t, js, 1, 3)
	want(t, messages, 1, 2, 3)
	restarted := natstest.Restart(t, server)
	js = natstest.JetStream(t, natstest.Connect(t, restarted.URL()))
	publish(t, js, 4, 2)
	want(t, messages, 4, 5)
}

func TestReaderBeginsAgainWithAnotherStream(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	makeStream(t, js)
	publish(t, js, 1, 3)
	reader, err := follow.FromNow(t.Context(), js, "S", "s.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	makeStream(t, js)
	publish(t, js, 4, 2)
	want(t, read(t, reader), 4, 5)
}

func TestReaderEnds(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	makeStream(t, js)
	publish(t, js, 1, 3)
	seen := 0
	err := follow.FromOldest(js, "S", "s.>").Run(t.Context(), func(jetstream.Msg) error {
		seen++
		return errStop
	})
	if err != errStop || seen != 1 { //nolint:errorlint // It is to be the very error.
		t.Errorf("Run() = %v after %d messages, want the error of the first", err, seen)
	}
	err = follow.FromOldest(js, "MISSING", "s.>").Run(t.Context(), nil)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("Run() = %v, want that the stream is missing", err)
	}
	if _, err = follow.FromNow(t.Context(), js, "MISSING", "s.>"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("FromNow() = %v, want that the stream is missing", err)
	}
}
