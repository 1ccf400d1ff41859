package capture_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/client"
)

// connected returns a client, and the JetStream of a server with a stream of
// updates.
func connected(t *testing.T) (*client.Client, jetstream.JetStream) {
	t.Helper()
	nc := natstest.Connect(t, natstest.Run(t).URL())
	c, err := client.New(nc, client.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	js := natstest.JetStream(t, nc)
	updates := jetstream.StreamConfig{Name: "PRESENCE_UPDATES", Subjects: []string{"presence.update.*.*"}, MaxMsgSize: 1000}
	if _, err := js.CreateStream(t.Context(), updates); err != nil {
		t.Fatal(err)
	}
	return c, js
}

// lines reads updates of one user and another thing.
func lines(t *testing.T, updates ...string) <-chan capture.Line {
	t.Helper()
	return capture.Follow(t.Context(), strings.NewReader(strings.Join(updates, "\n")), 64<<10)
}

func TestPublisher(t *testing.T) {
	t.Parallel()
	c, js := connected(t)
	var updates []string
	for n := range 100 {
		updates = append(updates, updateOf(n))
	}
	var stored, rejected []int
	publisher := capture.NewPublisher(c, 64<<10,
		func(line capture.Line) { stored = append(stored, line.Number) },
		func(line capture.Line) { rejected = append(rejected, line.Number) })
	if err := publisher.Publish(t.Context(), lines(t, append(updates, "{}")...)); err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(updates) || !slices.IsSorted(stored) || !slices.Equal(rejected, []int{101}) || publisher.Unacknowledged() != 0 {
		t.Errorf("%d lines are stored and %v rejected, want %d in order, and the last", len(stored), rejected, len(updates))
	}
	var got []string
	for _, m := range natstest.Stored(t, js, "PRESENCE_UPDATES", ">") {
		got = append(got, string(m.Data()))
	}
	if !slices.Equal(got, updates) {
		t.Errorf("the stream holds %d updates, want those %d, in order", len(got), len(updates))
	}
}

func TestPublisherStopsAtAnUpdateThatIsNotStored(t *testing.T) {
	t.Parallel()
	c, js := connected(t)
	large := strings.Replace(updateOf(2), "{", fmt.Sprintf(`{"x":"%01000d",`, 0), 1)
	stored := 0
	publisher := capture.NewPublisher(c, 64<<10, func(capture.Line) { stored++ }, nil)
	err := publisher.Publish(t.Context(), lines(t, updateOf(1), large))
	if !errors.As(err, new(*client.PublishError)) || !strings.Contains(err.Error(), "line 2: ") {
		t.Errorf("Publish() = %v, want the error about line 2", err)
	}
	if stored != 1 || publisher.Unacknowledged() != 1 {
		t.Errorf("%d are stored and %d not, want 1 and 1", stored, publisher.Unacknowledged())
	}
	if got := natstest.Count(t, js, "PRESENCE_UPDATES", ">"); got != 1 {
		t.Errorf("the stream holds %d updates, want 1", got)
	}
}

func TestPublisherObeysContext(t *testing.T) {
	t.Parallel()
	c, _ := connected(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if err := capture.NewPublisher(c, 64<<10, nil, nil).Publish(ctx, make(chan capture.Line)); !errors.Is(err, stop) {
		t.Errorf("Publish() = %v, want the reason of the context", err)
	}
}

func TestPublisherWithoutConnection(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.Run(t).URL())
	c, err := client.New(nc, client.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	err = capture.NewPublisher(c, 64<<10, nil, nil).Publish(t.Context(), lines(t, updateOf(1)))
	if !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Publish() = %v, want that there is no connection", err)
	}
}
