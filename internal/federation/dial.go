package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Dial connects to host:port, as a net.Dialer does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

var errBlocked = errors.New("the address is in a blocked network")

// dialer returns what connects to any address outside the blocked networks. It looks
// at addresses, not names: a name can stand for any address.
func dialer(timeout time.Duration, blocked []netip.Prefix) Dial {
	d := &net.Dialer{Timeout: timeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("parse address: %w", err)
		}
		if isBlocked(at.Addr(), blocked) {
			return errBlocked
		}
		return nil
	}}
	return d.DialContext
}

// isBlocked reports whether address, or an IPv4 address that a gateway makes of it, is
// in one of the networks. No network contains an address with a zone, so the zone is
// taken off first.
func isBlocked(address netip.Addr, networks []netip.Prefix) bool {
	address = address.Unmap().WithZone("")
	reached := []netip.Addr{address}
	if address.Is6() {
		reached = append(reached, embedded(address.As16())...)
	}
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool {
		return slices.ContainsFunc(reached, network.Contains)
	})
}

// embedded returns the IPv4 addresses that packets to an IPv6 address may end at, of
// the forms in RFC 4213 (compatible), RFC 2765 (translated), RFC 6052 and RFC 8215
// (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo: the server and the client, inverted)
// and RFC 5214 (ISATAP).
func embedded(a [16]byte) []netip.Addr {
	last := netip.AddrFrom4([4]byte(a[12:]))
	var found []netip.Addr
	for _, form := range []string{"::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"} {
		if netip.MustParsePrefix(form).Contains(netip.AddrFrom16(a)) {
			found = append(found, last)
		}
	}
	switch {
	case a[0] == 0x20 && a[1] == 0x02: // 2002::/16
		found = append(found, netip.AddrFrom4([4]byte(a[2:6])))
	case [4]byte(a[:4]) == [4]byte{0x20, 0x01}: // 2001::/32
		found = append(found, netip.AddrFrom4([4]byte(a[4:8])), netip.AddrFrom4([4]byte{^a[12], ^a[13], ^a[14], ^a[15]}))
	}
	if a[8]&^0x02 == 0 && a[9] == 0 && a[10] == 0x5e && a[11] == 0xfe {
		found = append(found, last)
	}
	return found
}

// secure connects to targets that stand in the authority of a URL.
type secure struct {
	dial    Dial
	tls     *tls.Config
	timeout time.Duration
}

// connect returns a connection to the first address that proves to be the target's.
func (s *secure) connect(ctx context.Context, network, address string) (net.Conn, error) {
	authority, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	t, err := parseAuthority(authority)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, each := range t.addresses {
		conn, err := s.connectTo(ctx, network, each, t.name)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, fmt.Errorf("connect to %s: %w", each, err))
	}
	return nil, errors.Join(failures...)
}

func (s *secure) connectTo(ctx context.Context, network, address, name string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	plain, err := s.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := s.tls.Clone()
	config.ServerName = name
	conn := tls.Client(&line{Conn: plain}, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, err
	}
	return conn, nil
}

// line is what a connection runs over. It knows the transaction that was sent on it and is
// not answered.
type line struct {
	net.Conn

	unanswered atomic.Pointer[Transaction]
}

// begin notes that t is sent on a connection that was made by connectTo, and returns what
// that runs over.
func begin(conn net.Conn, t *Transaction) *line {
	secured, _ := conn.(*tls.Conn)
	l, _ := secured.NetConn().(*line)
	l.unanswered.Store(t)
	return l
}

// end notes that t is answered. The connection may be used for another one by now.
func (l *line) end(t *Transaction) { l.unanswered.CompareAndSwap(t, nil) }

// Close ends the connection. Of a transaction that is not answered, the operating system
// drops what the other side has not received, which it would go on to send otherwise: it
// could arrive after newer ones.
func (l *line) Close() error {
	if tcp, ok := l.Conn.(*net.TCPConn); ok && l.unanswered.Load() != nil {
		_ = tcp.SetLinger(0) // Where that fails, it may arrive, as it may anyway.
	}
	return l.Conn.Close()
}
