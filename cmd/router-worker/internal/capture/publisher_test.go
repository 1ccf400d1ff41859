package capture_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/internal/natstest"
)

func lineOf(t *testing.T, n int) capture.Line {
	t.Helper()
	user := fmt.Sprintf("user%d", n%7)
	return capture.Line{Number: n, Subject: "presence.update.example%2Ecom." + user, Data: []byte(updateOf(user, n))}
}

func TestPublisherOutlivesItsServer(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	makeStream(t, natstest.JetStream(t, natstest.Connect(t, server.URL())))
	const updates = 30_000
	lines, halfway := make(chan capture.Line), make(chan struct{})
	go func() {
		defer close(lines)
		for n := range updates {
			lines <- lineOf(t, n)
			if n == updates/2 {
				close(halfway)
			}
		}
	}()
	var acked []int
	publisher := capture.NewPublisher(dialer(server.URL()), "PRESENCE_UPDATES",
		func(line capture.Line) { acked = append(acked, line.Number) },
		func(line capture.Line) { t.Errorf("line %d is rejected: %v", line.Number, line.Err) })
	published := make(chan error, 1)
	go func() { published <- publisher.Publish(t.Context(), lines) }()
	<-halfway
	restarted := natstest.Restart(t, server)
	select {
	case err := <-published:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(bound):
		t.Fatalf("not published after %v", bound)
	}
	if len(acked) != updates || !slices.IsSorted(acked) || publisher.Unacknowledged() != 0 {
		t.Errorf("%d updates are acknowledged, %d are not, want all %d in order", len(acked), publisher.Unacknowledged(), updates)
	}
	got := stored(t, natstest.JetStream(t, natstest.Connect(t, restarted.URL())))
	for n := range updates {
		if n >= len(got) || got[n] != string(lineOf(t, n).Data) {
			t.Fatalf("the stream holds %d updates, and another one than %d in its place: want each once, in order", len(got), n)
		}
	}
	if len(got) != updates {
		t.Errorf("the stream holds %d updates, want %d", len(got), updates)
	}
}

func TestPublisherDoesNotPublishTwice(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	js := natstest.JetStream(t, natstest.Connect(t, server.URL()))
	makeStream(t, js)
	// The connection breaks once the update is stored, before the answer is read.
	var first *nats.Conn
	dial := func(ctx context.Context) (*nats.Conn, error) {
		nc, err := dialer(server.URL())(ctx)
		if first == nil && err == nil {
			first = nc
		}
		return nc, err
	}
	lines := make(chan capture.Line)
	published := make(chan error, 1)
	acked := 0
	publisher := capture.NewPublisher(dial, "PRESENCE_UPDATES", func(capture.Line) { acked++ }, nil)
	go func() { published <- publisher.Publish(t.Context(), lines) }()
	lines <- lineOf(t, 1)
	lines <- lineOf(t, 2) // the first one is sent
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	first.Close()
	lines <- lineOf(t, 3)
	close(lines)
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	if got := stored(t, js); acked != 3 || len(got) != 3 {
		t.Errorf("%d updates are acknowledged, the stream holds %q, want 3", acked, got)
	}
}

func TestPublisherGivesUp(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	js := natstest.JetStream(t, natstest.Connect(t, server.URL()))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.>"}, MaxMsgSize: 100}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	small, large := []byte("{}"), make([]byte, 200)
	tests := []struct {
		name string
		dial capture.Dial
		line capture.Line
		want error
	}{
		{"no stream takes it", dialer(server.URL()), capture.Line{Subject: "presence.update.a.b", Data: small}, jetstream.ErrStreamNotFound},
		{"another stream takes it", dialer(server.URL()), capture.Line{Subject: "other.a", Data: small}, nil},
		{"the server refuses it", dialer(server.URL()), capture.Line{Subject: "other.a", Data: large}, &jetstream.APIError{}},
		{"no connection", func(context.Context) (*nats.Conn, error) { return nil, refused }, capture.Line{}, refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines := make(chan capture.Line, 1)
			lines <- tt.line
			close(lines)
			publisher := capture.NewPublisher(tt.dial, "PRESENCE_UPDATES", func(capture.Line) {}, nil)
			began := time.Now()
			err := publisher.Publish(t.Context(), lines)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) && !errors.As(err, new(*jetstream.APIError)) {
				t.Errorf("Publish() = %v, want %v", err, tt.want)
			}
			if took := time.Since(began); took > 25*time.Second {
				t.Errorf("Publish() gives up after %v, want at once", took)
			}
		})
	}
}

func TestPublisherObeysContext(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	publisher := capture.NewPublisher(dialer(server.URL()), "PRESENCE_UPDATES", nil, nil)
	if err := publisher.Publish(ctx, make(chan capture.Line)); !errors.Is(err, stop) {
		t.Errorf("Publish() = %v, want the reason of the context", err)
	}
}
