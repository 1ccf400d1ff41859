package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
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
		for _, network := range blocked {
			if network.Contains(at.Addr().Unmap()) {
				return errBlocked
			}
		}
		return nil
	}}
	return d.DialContext
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
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close()
		return nil, err
	}
	return conn, nil
}
