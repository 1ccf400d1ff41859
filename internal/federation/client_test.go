package federation_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/federation"
	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestTransactionIsSignedAndCanonical(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.homeserver(t, "hs.org:99", "hs.org")
	if err := w.client(t).Send(t.Context(), transaction("id-1", "hs.org:99")); err != nil {
		t.Fatalf("Send: %v", err)
	}
	received := got(t, s)
	want := `{"edus":[{"content":{"push":[{"currently_active":true,"last_active_ago":12,"presence":"online",` +
		`"status_msg":"` + "\u2028" + ` <☕> \"\\ \u0001\n","user_id":"@bob:example.com"}]},"edu_type":"m.presence"}],` +
		`"origin":"example.com","origin_server_ts":1795378782366,"pdus":[]}`
	if received.Body != want || received.ID != "id-1" {
		t.Errorf("sent is %s: %s, want id-1: %s", received.ID, received.Body, want)
	}
}

func TestAnswersOtherThan200(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.homeserver(t, "hs.org:99", "hs.org")
	c := w.client(t)
	in90 := w.clock().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   federation.StatusError
	}{
		{"server error", matrixtest.Status(500, "oops"), federation.StatusError{Status: 500}},
		{"redirect", matrixtest.Status(302, "", "Location", "https://evil.org/"), federation.StatusError{Status: 302}},
		{"accepted", matrixtest.Status(202, ""), federation.StatusError{Status: 202}},
		{"forbidden", matrixtest.Status(403, `{"errcode":"M_FORBIDDEN","error":"no"}`), federation.StatusError{Status: 403, Code: "M_FORBIDDEN"}},
		{"seconds", matrixtest.Status(429, `{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":9}`, "Retry-After", "7"), federation.StatusError{Status: 429, Code: "M_LIMIT_EXCEEDED", RetryAfter: 7 * time.Second}},
		{"milliseconds", matrixtest.Status(429, `{"retry_after_ms":2500}`), federation.StatusError{Status: 429, RetryAfter: 2500 * time.Millisecond}},
		{"date", matrixtest.Status(503, "", "Retry-After", in90), federation.StatusError{Status: 503, RetryAfter: 90 * time.Second}},
		{"no time", matrixtest.Status(429, `{"retry_after_ms":-1}`, "Retry-After", "soon"), federation.StatusError{Status: 429}},
		{"too long", matrixtest.Status(429, "", "Retry-After", "4000000000"), federation.StatusError{Status: 429, RetryAfter: 7 * 24 * time.Hour}},
		{"endless answer", matrixtest.Status(500, strings.Repeat("x", 1<<20)), federation.StatusError{Status: 500}},
	}
	for i, tt := range tests {
		s.Fail(tt.answer)
		err := c.Send(t.Context(), transaction(strconv.Itoa(i), "hs.org:99"))
		got, ok := errors.AsType[*federation.StatusError](err)
		if !ok {
			t.Errorf("%s: Send() = %v, want a StatusError", tt.name, err)
			continue
		}
		if (got.RetryAfter - tt.want.RetryAfter).Abs() < time.Second { // a date has no fractions
			got.RetryAfter = tt.want.RetryAfter
		}
		if *got != tt.want {
			t.Errorf("%s: Send() = %+v, want %+v", tt.name, *got, tt.want)
		}
	}
	if dials := w.dials(); strings.Contains(dials, "evil") {
		t.Errorf("dialled is %s, want no redirect followed", dials)
	}
}

func TestConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]http.HandlerFunc{"closed": matrixtest.Closed, "slow": matrixtest.Slow} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.homeserver(t, "hs.org:99", "hs.org")
			c := w.client(t, func(c *federation.Config) { c.RequestTimeout = 2 * time.Second })
			s.Fail(fault, fault)
			err := c.Send(t.Context(), transaction("1", "hs.org:99"))
			if err == nil || errors.As(err, new(*federation.UnreachableError)) || errors.As(err, new(*federation.StatusError)) {
				t.Fatalf("Send() = %v, want an error that leaves open what arrived", err)
			}
			if strings.Contains(err.Error(), "68732e6f7267") {
				t.Errorf("Send() = %v, want an error for people", err)
			}
		})
	}
}

func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.homeserver(t, "hs.org:99", "hs.org")
	w.place("hs.org:98", s.Address()) // the same certificate, but not the same server
	c := w.client(t)
	for _, server := range []string{"hs.org:99", "hs.org:99", "hs.org:98", "hs.org:99"} {
		if err := c.Send(t.Context(), transaction("1", server)); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if host := got(t, s).Host; host != server {
			t.Errorf("the server sees Host %s, want %s", host, server)
		}
	}
	if dials := w.dials(); dials != "hs.org:99 hs.org:98" {
		t.Errorf("dialled is %s, want each server once", dials)
	}
}

func TestBlockedNetworksAreNotConnectedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.homeserver(t, "unused:1", "127.0.0.1")
	config := federation.Config{
		Roots: w.authority.Pool(), ConnectTimeout: 10 * time.Second, RequestTimeout: eventTimeout,
		Blocked: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	config.Keys = map[presence.ServerName]federation.Key{presence.MustServerName("example.com"): w.key}
	c, err := federation.NewClient(config, federation.WithResolver(w))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	wantUnreachable(t, c.Send(t.Context(), transaction("1", s.Address())), "blocked network")
	config.Blocked = nil
	open, err := federation.NewClient(config, federation.WithResolver(w))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(open.Close)
	if err := open.Send(t.Context(), transaction("1", s.Address())); err != nil {
		t.Errorf("Send to a network that is not blocked: %v", err)
	}
}
