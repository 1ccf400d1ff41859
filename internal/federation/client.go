package federation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// Config is what a Client is configured with.
type Config struct {
	Keys           map[presence.ServerName]Key // by origin
	Roots          *x509.CertPool              // authorities that are trusted; the system's where nil
	Blocked        []netip.Prefix              // networks that are not connected to
	ConnectTimeout time.Duration               // bound on connecting to one address, TLS included
	RequestTimeout time.Duration               // bound on one transaction, discovery included
	Connections    int                         // bound on connections that are kept open unused
	UserAgent      string
}

// Client sends transactions. Its methods may be called by several goroutines at once.
type Client struct {
	config    Config
	discovery *discovery
	secure    *http.Client // for transactions
	plain     *http.Client // for delegations
	now       func() time.Time
	meters    *telemetry
}

const (
	maxAnswer      = 64 << 10
	maxHeaderBytes = 16 << 10
	maxServers     = 10_000 // that are remembered
	idleTimeout    = 2 * time.Minute
)

// NewClient returns a client. Whoever makes it closes it.
func NewClient(config Config, opts ...Option) (*Client, error) {
	o := newOptions(config, opts)
	meters, err := newTelemetry(o.meter)
	if err != nil {
		return nil, err
	}
	security := &tls.Config{RootCAs: config.Roots, MinVersion: tls.VersionTLS12}
	c := &Client{config: config, now: o.now, meters: meters}
	c.secure = &http.Client{
		Transport: &http.Transport{
			DialTLSContext:         (&secure{dial: o.dial, tls: security, timeout: config.ConnectTimeout}).connect,
			MaxIdleConns:           config.Connections,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.plain = &http.Client{
		Transport: &http.Transport{
			DialContext:            o.dial,
			TLSClientConfig:        security,
			TLSHandshakeTimeout:    config.ConnectTimeout,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: checkRedirect,
		Timeout:       min(2*config.ConnectTimeout, config.RequestTimeout/3), // so that time is left to send
	}
	c.discovery = &discovery{
		resolver: o.resolver, now: o.now,
		wellKnown: &wellKnown{client: c.plain, now: o.now, kept: newCache[presence.ServerName, delegation](maxServers)},
		services:  newCache[string, target](maxServers),
	}
	return c, nil
}

// Close closes the connections that are open unused.
func (c *Client) Close() {
	c.secure.CloseIdleConnections()
	c.plain.CloseIdleConnections()
}

// Send sends t and returns nil when its destination has answered 200. The error wraps
// an *UnreachableError where nothing was sent, a *StatusError where the answer is
// another one; else it is not known what the destination has.
func (c *Client) Send(ctx context.Context, t Transaction) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.RequestTimeout)
	defer cancel()
	began := time.Now()
	err := c.send(ctx, t)
	c.meters.sent(ctx, time.Since(began), err)
	if err != nil {
		return fmt.Errorf("send transaction %s to %s: %w", t.ID, t.Destination, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, t Transaction) error {
	to, err := c.discovery.find(ctx, t.Destination)
	if err != nil {
		return &UnreachableError{err}
	}
	request, err := c.request(ctx, t, to)
	if err != nil {
		return &UnreachableError{err}
	}
	var on atomic.Pointer[line]
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) { on.Store(begin(got.Conn, &t)) },
	}))
	response, err := c.secure.Do(request)
	if err != nil && on.Load() == nil {
		c.discovery.forget(to)
		return &UnreachableError{withoutURL(err)}
	}
	if err != nil {
		return withoutURL(err)
	}
	on.Load().end(&t)
	defer response.Body.Close() //nolint:errcheck // It was only read.
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode != http.StatusOK {
		return newStatusError(response, answer, c.now())
	}
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

var errNoKey = errors.New("there is no key for the origin")

// request returns what sends t.
func (c *Client) request(ctx context.Context, t Transaction, to target) (*http.Request, error) {
	key, found := c.config.Keys[t.Origin]
	if !found {
		return nil, fmt.Errorf("sign for %s: %w", t.Origin, errNoKey)
	}
	body, err := t.body()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "https://"+to.authority()+t.path(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Host = to.host
	request.Header.Set("Authorization", t.authorization(key, http.MethodPut, body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", c.config.UserAgent)
	// Sent again with the same ID a transaction has no further effect: where a connection
	// turns out to be closed, the request may go over another one. This is not sent.
	request.Header["Idempotency-Key"] = nil
	return request, nil
}

// withoutURL takes out the URL, whose authority means nothing to people.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
