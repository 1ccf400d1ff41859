package integration_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
)

const linkTimeout = time.Minute

// TestLink sends requests over a link to a service on the server's own side.
func TestLink(t *testing.T) {
	t.Parallel()
	server := natstest.Run(t)
	heard := echo(t, server.URL())

	t.Run("passes", func(t *testing.T) {
		link := newLink(t, server.URL())
		if _, err := request(t, natstest.Connect(t, link.URL()), "hello", linkTimeout); err != nil {
			t.Errorf("request over a link that passes: %v", err)
		}
		wantHeard(t, heard, "hello")
	})
	t.Run("holds answers", func(t *testing.T) {
		link := newLink(t, server.URL())
		nc := natstest.Connect(t, link.URL())
		link.Hold(integration.ToClient)
		if answer, err := request(t, nc, "unanswered", 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request without an answer gives %q, %v", answer, err)
		}
		wantHeard(t, heard, "unanswered")
		link.Pass()
		if answer, err := request(t, nc, "answered", linkTimeout); err != nil || answer != "answered" {
			t.Errorf("request after Pass gives %q, %v", answer, err)
		}
		wantHeard(t, heard, "answered")
	})
	t.Run("what is held arrives although the client is gone", func(t *testing.T) {
		link := newLink(t, server.URL())
		nc := natstest.Connect(t, link.URL())
		link.Hold(integration.Both)
		if _, err := request(t, nc, "late", 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request into a partition gives %v", err)
		}
		nc.Close()
		select {
		case said := <-heard:
			t.Errorf("%q got through a partition", said)
		default:
		}
		link.Pass()
		wantHeard(t, heard, "late")
	})
	t.Run("delays", func(t *testing.T) {
		link := newLink(t, server.URL())
		nc := natstest.Connect(t, link.URL())
		const delay = 100 * time.Millisecond
		link.Delay(delay)
		began := time.Now()
		if _, err := request(t, nc, "slow", linkTimeout); err != nil || time.Since(began) < 2*delay {
			t.Errorf("request gives %v after %v, want an answer, but not before %v", err, time.Since(began), 2*delay)
		}
		wantHeard(t, heard, "slow")
	})
	t.Run("passes on new connections what it holds on others", func(t *testing.T) {
		link := newLink(t, server.URL())
		nc := natstest.Connect(t, link.URL())
		link.Hold(integration.Both)
		if _, err := request(t, nc, "held", 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request into a partition gives %v", err)
		}
		link.Renew()
		if _, err := request(t, natstest.Connect(t, link.URL()), "passed", linkTimeout); err != nil {
			t.Errorf("request on a new connection: %v", err)
		}
		wantHeard(t, heard, "passed")
		link.Pass()
		wantHeard(t, heard, "held")
	})
	t.Run("cuts what was kept", func(t *testing.T) {
		link := newLink(t, server.URL())
		reconnected := make(chan struct{}, 1)
		nc := natstest.Connect(t, link.URL(), nats.ReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} }))
		link.Hold(integration.Both)
		if _, err := request(t, nc, "cut off", 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request into a partition gives %v", err)
		}
		link.Cut()
		link.Pass()
		select {
		case <-reconnected:
		case <-time.After(linkTimeout):
			t.Fatalf("the client has not connected again after %v", linkTimeout)
		}
		if _, err := request(t, nc, "reconnected", linkTimeout); err != nil {
			t.Errorf("request after a cut: %v", err)
		}
		wantHeard(t, heard, "reconnected")
	})
}

// newLink returns a link that ends with the test.
func newLink(tb testing.TB, urls ...string) *integration.Link {
	tb.Helper()
	servers := make([]string, len(urls))
	for i, url := range urls {
		servers[i] = strings.TrimPrefix(url, "nats://")
	}
	link, err := integration.NewLink(tb.Context(), servers...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := link.Close(); err != nil {
			tb.Error(err)
		}
	})
	return link
}

// echo answers requests with what they say, and returns a channel of that.
func echo(t *testing.T, url string) <-chan string {
	t.Helper()
	heard := make(chan string, 10)
	nc := natstest.Connect(t, url)
	if _, err := nc.Subscribe("echo", func(m *nats.Msg) {
		heard <- string(m.Data)
		_ = m.Respond(m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return heard
}

func wantHeard(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Errorf("the service heard %q, want %q", got, want)
		}
	case <-time.After(linkTimeout):
		t.Errorf("the service has not heard %q after %v", want, linkTimeout)
	}
}

func request(t *testing.T, nc *nats.Conn, text string, timeout time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, "echo", []byte(text))
	if err != nil {
		return "", err
	}
	return string(answer.Data), nil
}
