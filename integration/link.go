package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Direction is a way that bytes take over a Link.
type Direction int

// The directions of a Link.
const (
	ToServers Direction = 1 << iota
	ToClient
	Both = ToServers | ToClient
)

// Link is the network between one client and its servers: a TCP proxy for each
// server. It can hold what is sent back, as a network that is partitioned does,
// delay it, and cut the connections. What is held arrives late, even if the client
// has gone meanwhile.
type Link struct {
	listeners []net.Listener
	stop      context.CancelFunc
	all       sync.WaitGroup

	mu        sync.Mutex
	toServers *flow
	toClient  *flow
	former    []*flow // of connections that were there when Renew was called
	conns     map[net.Conn]bool
}

// NewLink returns a link to servers, each host:port, that passes everything. Close
// ends it.
func NewLink(ctx context.Context, servers ...string) (*Link, error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Link{toServers: newFlow(), toClient: newFlow(), stop: stop, conns: make(map[net.Conn]bool)}
	for _, server := range servers {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("link to %s: %w", server, err), l.Close())
		}
		l.listeners = append(l.listeners, listener)
		l.all.Go(func() { l.accept(ctx, listener, server) })
	}
	return l, nil
}

// URL returns the URL at which the client finds the servers.
func (l *Link) URL() string {
	urls := make([]string, len(l.listeners))
	for i, listener := range l.listeners {
		urls[i] = "nats://" + listener.Addr().String()
	}
	return strings.Join(urls, ",")
}

// Hold keeps what is sent in a direction, on connections that are made later as
// well, until Pass.
func (l *Link) Hold(d Direction) {
	toServers, toClient := l.flows()
	if d&ToServers != 0 {
		toServers.hold()
	}
	if d&ToClient != 0 {
		toClient.hold()
	}
}

// Renew has connections that are made from now on pass what is sent. Those that are there
// stay as they are, until Pass.
func (l *Link) Renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.former = append(l.former, l.toServers, l.toClient)
	l.toServers, l.toClient = newFlow(), newFlow()
}

// Delay has everything that is sent from now on take that long, in each direction,
// until Pass.
func (l *Link) Delay(delay time.Duration) {
	toServers, toClient := l.flows()
	toServers.slow(delay)
	toClient.slow(delay)
}

// Pass ends Hold and Delay. What was kept arrives.
func (l *Link) Pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range append(l.former, l.toServers, l.toClient) {
		f.slow(0)
		f.pass()
	}
	l.former = nil
}

// flows returns those of the connections that are made now.
func (l *Link) flows() (toServers, toClient *flow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.toServers, l.toClient
}

// Cut ends every connection at once. What was kept is lost.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
}

// Close ends the link and everything that it started.
func (l *Link) Close() error {
	var failed []error
	for _, listener := range l.listeners {
		failed = append(failed, listener.Close())
	}
	l.stop()
	l.Cut()
	l.all.Wait()
	return errors.Join(failed...)
}

func (l *Link) accept(ctx context.Context, listener net.Listener, server string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		l.all.Go(func() { l.connect(ctx, client, server) })
	}
}

// connect passes bytes between a client and a server until one of them is gone.
func (l *Link) connect(ctx context.Context, client net.Conn, server string) {
	defer l.forget(client)
	if !l.keep(ctx, client) {
		return
	}
	target, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return
	}
	defer l.forget(target)
	if !l.keep(ctx, target) {
		return
	}
	toServers, toClient := l.flows()
	var both sync.WaitGroup
	both.Go(func() { toServers.carry(ctx, target, client) })
	both.Go(func() { toClient.carry(ctx, client, target) })
	both.Wait()
}

// keep notes a connection for Cut, unless the link has ended.
func (l *Link) keep(ctx context.Context, c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	return ctx.Err() == nil
}

func (l *Link) forget(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}
