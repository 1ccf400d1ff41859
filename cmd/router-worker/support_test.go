package main_test

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

// proxy stands between a worker and a server until it freezes.
type proxy struct {
	url string

	frozen chan struct{}
	freeze func()
}

func startProxy(tb testing.TB, url string) *proxy {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{url: "nats://" + l.Addr().String(), frozen: make(chan struct{})}
	p.freeze = sync.OnceFunc(func() { close(p.frozen) })
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.join(tb, client, strings.TrimPrefix(url, "nats://")) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.freeze()
	})
	return p
}

// join copies both ways; once frozen the connections stay open and nothing moves.
func (p *proxy) join(tb testing.TB, client net.Conn, address string) {
	tb.Helper()
	server, err := new(net.Dialer).DialContext(tb.Context(), "tcp", address)
	if err != nil {
		_ = client.Close()
		return
	}
	tb.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	go p.copy(client, server)
	go p.copy(server, client)
}

func (p *proxy) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-p.frozen:
			return
		default:
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// fed is a process whose input stays open.
type fed struct {
	*process

	stdin io.Writer
}

func startWithOpenInput(tb testing.TB, env []string, args ...string) fed {
	tb.Helper()
	p := newProcess(tb, env, args...)
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.begin()
	return fed{process: p, stdin: stdin}
}

// deliveredTo returns the sequences of the updates that were delivered to a
// recipient, given as the last two tokens of a subject, in the order of delivery.
func deliveredTo(tb testing.TB, js jetstream.JetStream, recipient string) []uint64 {
	tb.Helper()
	var sequences []uint64
	for _, m := range natstest.Stored(tb, js, "PRESENCE_DELIVERIES", "presence.deliver.*.*."+recipient) {
		var delivery struct{ Sequences []uint64 }
		if err := json.Unmarshal(m.Data(), &delivery); err != nil {
			tb.Fatal(err)
		}
		sequences = append(sequences, delivery.Sequences...)
	}
	return sequences
}
