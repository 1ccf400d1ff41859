package federation_test

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/federation"
	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestServersAreFound(t *testing.T) {
	t.Parallel()
	const fed, old = "_matrix-fed._tcp.", "_matrix._tcp."
	tests := []struct {
		name        string
		server      string
		website     http.HandlerFunc // of hs.org
		records     map[string][]*net.SRV
		address     string // where the homeserver is
		certificate string
		host        string // header that it sees
		sni         string // none for addresses
		dials       string
	}{
		{name: "IPv4 address", server: "192.0.2.1", address: "192.0.2.1:8448", certificate: "192.0.2.1", host: "192.0.2.1", dials: "192.0.2.1:8448"},
		{name: "IPv4 address and port", server: "192.0.2.1:99", address: "192.0.2.1:99", certificate: "192.0.2.1", host: "192.0.2.1:99", dials: "192.0.2.1:99"},
		{name: "IPv6 address", server: "[2001:db8::1]", address: "[2001:db8::1]:8448", certificate: "2001:db8::1", host: "[2001:db8::1]", dials: "[2001:db8::1]:8448"},
		{name: "IPv6 address and port", server: "[2001:db8::1]:99", address: "[2001:db8::1]:99", certificate: "2001:db8::1", host: "[2001:db8::1]:99", dials: "[2001:db8::1]:99"},
		{name: "name and port", server: "hs.org:99", address: "hs.org:99", certificate: "hs.org", host: "hs.org:99", sni: "hs.org", dials: "hs.org:99"},
		{
			name: "delegated to an address", server: "hs.org", website: delegates("192.0.2.1"),
			address: "192.0.2.1:8448", certificate: "192.0.2.1", host: "192.0.2.1", dials: "hs.org:443 192.0.2.1:8448",
		},
		{
			name: "delegated to an address and port", server: "hs.org", website: delegates("[2001:db8::1]:99"),
			address: "[2001:db8::1]:99", certificate: "2001:db8::1", host: "[2001:db8::1]:99", dials: "hs.org:443 [2001:db8::1]:99",
		},
		{
			name: "delegated to a name and port", server: "hs.org", website: delegates("matrix.hs.org:443"),
			address: "matrix.hs.org:443", certificate: "matrix.hs.org", host: "matrix.hs.org:443", sni: "matrix.hs.org",
			dials: "hs.org:443 matrix.hs.org:443",
		},
		{
			name: "delegated to a name with a record", server: "hs.org", website: delegates("matrix.hs.org"),
			records: map[string][]*net.SRV{fed + "matrix.hs.org.": {{Target: "a.host.net.", Port: 7000}}, old + "matrix.hs.org.": {{Target: "b.host.net.", Port: 1}}},
			address: "a.host.net:7000", certificate: "matrix.hs.org", host: "matrix.hs.org", sni: "matrix.hs.org",
			dials: "hs.org:443 a.host.net:7000",
		},
		{
			name: "delegated to a name with a deprecated record", server: "hs.org", website: delegates("matrix.hs.org"),
			records: map[string][]*net.SRV{old + "matrix.hs.org.": {{Target: "b.host.net.", Port: 7001}}},
			address: "b.host.net:7001", certificate: "matrix.hs.org", host: "matrix.hs.org", sni: "matrix.hs.org",
			dials: "hs.org:443 b.host.net:7001",
		},
		{
			name: "delegated to a name", server: "hs.org", website: delegates("matrix.hs.org"),
			address: "matrix.hs.org:8448", certificate: "matrix.hs.org", host: "matrix.hs.org", sni: "matrix.hs.org",
			dials: "hs.org:443 matrix.hs.org:8448",
		},
		{
			name: "record", server: "hs.org", records: map[string][]*net.SRV{fed + "hs.org.": {{Target: "a.host.net.", Port: 7000}}},
			address: "a.host.net:7000", certificate: "hs.org", host: "hs.org", sni: "hs.org", dials: "hs.org:443 a.host.net:7000",
		},
		{
			name: "several records, of which the first is down", server: "hs.org",
			records: map[string][]*net.SRV{fed + "hs.org.": {{Target: "a.host.net.", Port: 7000}, {Target: "b.host.net.", Port: 7001}}},
			address: "b.host.net:7001", certificate: "hs.org", host: "hs.org", sni: "hs.org", dials: "hs.org:443 a.host.net:7000 b.host.net:7001",
		},
		{
			name: "deprecated record", server: "hs.org", website: matrixtest.Status(404, "nothing"),
			records: map[string][]*net.SRV{old + "hs.org.": {{Target: "b.host.net.", Port: 7001}}},
			address: "b.host.net:7001", certificate: "hs.org", host: "hs.org", sni: "hs.org", dials: "hs.org:443 b.host.net:7001",
		},
		{
			name: "default port", server: "hs.org",
			address: "hs.org:8448", certificate: "hs.org", host: "hs.org", sni: "hs.org", dials: "hs.org:443 hs.org:8448",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.records = tt.records
			if tt.website != nil {
				w.website(t, "hs.org", tt.website)
			}
			s := w.homeserver(t, tt.address, tt.certificate)
			if err := w.client(t).Send(t.Context(), transaction("1", tt.server)); err != nil {
				t.Fatalf("Send to %s: %v", tt.server, err)
			}
			received := got(t, s)
			if received.Host != tt.host || received.Name != tt.sni || received.Destination != tt.server {
				t.Errorf("the server sees Host %q, name %q and destination %q, want %q, %q, %q",
					received.Host, received.Name, received.Destination, tt.host, tt.sni, tt.server)
			}
			if dials := w.dials(); dials != tt.dials {
				t.Errorf("dialled is %s, want %s", dials, tt.dials)
			}
		})
	}
}

func TestCertificateIsForTheNameThatCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.records = map[string][]*net.SRV{"_matrix-fed._tcp.hs.org.": {{Target: "a.host.net.", Port: 7000}}}
	w.website(t, "other.org", delegates("hs.org"))
	w.homeserver(t, "a.host.net:7000", "a.host.net", "other.org") // neither is for hs.org
	for _, server := range []string{"hs.org", "other.org"} {
		err := w.client(t).Send(t.Context(), transaction("1", server))
		wantUnreachable(t, err, "certificate is valid for a.host.net, other.org, not hs.org")
	}
}

func TestOnlyTrustedAuthoritiesCount(t *testing.T) {
	t.Parallel()
	w, stranger := newWorld(t), newWorld(t)
	s := stranger.homeserver(t, "hs.org:99", "hs.org")
	w.place("hs.org:99", s.Address())
	err := w.client(t).Send(t.Context(), transaction("1", "hs.org:99"))
	wantUnreachable(t, err, "certificate signed by unknown authority")
}

func wantUnreachable(t *testing.T, err error, text string) {
	t.Helper()
	if _, ok := errors.AsType[*federation.UnreachableError](err); !ok || !strings.Contains(err.Error(), text) {
		t.Errorf("Send() = %v, want that nothing was sent: %s", err, text)
	}
}

func TestDelegationsThatAreNone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"not found", matrixtest.Status(404, `{"m.server":"evil.org"}`)},
		{"no JSON", matrixtest.Status(200, "matrix.hs.org")},
		{"no object", matrixtest.Status(200, `["evil.org"]`)},
		{"another property", matrixtest.Status(200, `{"server":"evil.org"}`)},
		{"no server name", matrixtest.Status(200, `{"m.server":"evil.org/path"}`)},
		{"too large", matrixtest.Status(200, `{"m.server":"evil.org","x":"`+strings.Repeat("x", 60<<10)+`"}`)},
		{"redirect in a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/.well-known/matrix/server", http.StatusFound)
		}},
		{"redirect to http", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.org/", http.StatusFound)
		}},
		{"closed", matrixtest.Closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.website(t, "hs.org", tt.answer)
			s := w.homeserver(t, "hs.org:8448", "hs.org")
			if err := w.client(t).Send(t.Context(), transaction("1", "hs.org")); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if received := got(t, s); received.Host != "hs.org" {
				t.Errorf("the server sees Host %q, want hs.org", received.Host)
			}
			if dials := w.dials(); strings.Contains(dials, "evil") {
				t.Errorf("dialled is %s, want nothing of evil.org", dials)
			}
		})
	}
}

func TestDelegationByRedirect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.website(t, "hs.org", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "https://www.hs.org/delegation", http.StatusMovedPermanently)
	})
	w.website(t, "www.hs.org", delegates("matrix.hs.org:99"))
	s := w.homeserver(t, "matrix.hs.org:99", "matrix.hs.org")
	if err := w.client(t).Send(t.Context(), transaction("1", "hs.org")); err != nil {
		t.Fatalf("Send: %v", err)
	}
	got(t, s)
}

func TestDelegationsAreKept(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		answer      http.HandlerFunc
		kept, asked time.Duration // after which it is still known, and asked for again
	}{
		{"no headers", delegates("hs.org:99"), 24*time.Hour - time.Minute, 24*time.Hour + time.Minute},
		{"max-age", delegates("hs.org:99", "Cache-Control", "public, max-age=3600"), 59 * time.Minute, 61 * time.Minute},
		{"too long", delegates("hs.org:99", "Cache-Control", "max-age=31536000"), 47 * time.Hour, 49 * time.Hour},
		{"too short", delegates("hs.org:99", "Cache-Control", "max-age=1"), 4 * time.Minute, 6 * time.Minute},
		{"not to be stored", delegates("hs.org:99", "Cache-Control", "no-store"), 4 * time.Minute, 6 * time.Minute},
		{"expired", delegates("hs.org:99", "Expires", "0"), 4 * time.Minute, 6 * time.Minute},
		{"failure", matrixtest.Status(500, ""), 50 * time.Second, 6 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.website(t, "hs.org", tt.answer)
			w.homeserver(t, "hs.org:99", "hs.org")
			w.homeserver(t, "hs.org:8448", "hs.org")
			c := w.client(t)
			asked := func(after time.Duration) bool {
				w.pass(after)
				if err := c.Send(t.Context(), transaction("1", "hs.org")); err != nil {
					t.Fatalf("Send: %v", err)
				}
				return strings.Contains(w.dials(), "hs.org:443")
			}
			if !asked(0) || asked(tt.kept) || !asked(tt.asked-tt.kept) {
				t.Errorf("the domain is not asked at first and after %v, or asked within %v", tt.asked, tt.kept)
			}
		})
	}
}

func TestFailedDelegationsAreAskedForLessAndLess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.homeserver(t, "hs.org:8448", "hs.org")
	c := w.client(t)
	asked := 0
	for range 10 * 60 {
		if err := c.Send(t.Context(), transaction("1", "hs.org")); err != nil {
			t.Fatalf("Send: %v", err)
		}
		if strings.Contains(w.dials(), "hs.org:443") {
			asked++
		}
		w.pass(time.Minute)
	}
	if asked < 10 || asked > 16 { // after 1, 2, 4, ... minutes, then every hour
		t.Errorf("the domain is asked %d times in 10 hours, want about 15", asked)
	}
}

func TestDomainThatHangsIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.website(t, "hs.org", matrixtest.Slow)
	s := w.homeserver(t, "hs.org:8448", "hs.org")
	c := w.client(t, func(c *federation.Config) { c.RequestTimeout = 3 * time.Second })
	for _, want := range []string{"hs.org:443 hs.org:8448", ""} {
		if err := c.Send(t.Context(), transaction("1", "hs.org")); err != nil {
			t.Fatalf("Send: %v", err)
		}
		got(t, s)
		if dials := w.dials(); dials != want {
			t.Errorf("dialled is %s, want %s", dials, want)
		}
	}
}

func TestDelegationOutlivesFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer http.HandlerFunc
		after  time.Duration // since the delegation expired
		kept   bool
	}{
		{"server error", matrixtest.Status(500, "oops"), time.Hour, true},
		{"closed", matrixtest.Closed, time.Hour, true},
		{"no JSON", matrixtest.Status(200, "<html>"), time.Hour, true},
		{"none any more", matrixtest.Status(404, ""), time.Hour, false},
		{"for too long", matrixtest.Status(500, "oops"), 25 * time.Hour, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var broken atomic.Bool
			w.website(t, "hs.org", func(rw http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					tt.answer(rw, r)
					return
				}
				delegates("matrix.hs.org:99", "Cache-Control", "max-age=600")(rw, r)
			})
			delegated := w.homeserver(t, "matrix.hs.org:99", "matrix.hs.org")
			itself := w.homeserver(t, "hs.org:8448", "hs.org")
			c := w.client(t)
			if err := c.Send(t.Context(), transaction("1", "hs.org")); err != nil {
				t.Fatalf("Send: %v", err)
			}
			got(t, delegated)
			broken.Store(true)
			for _, pass := range []time.Duration{10 * time.Minute, tt.after} { // a failure, then another
				w.pass(pass)
				if err := c.Send(t.Context(), transaction("2", "hs.org")); err != nil {
					t.Fatalf("Send: %v", err)
				}
			}
			if kept := len(itself.Got()) == 0; kept != tt.kept {
				t.Errorf("the delegation is kept: %t, want %t", kept, tt.kept)
			}
			broken.Store(false)
			w.pass(time.Hour)
			w.dials()
			if err := c.Send(t.Context(), transaction("3", "hs.org")); err != nil {
				t.Fatalf("Send: %v", err)
			}
			if dials := w.dials(); !strings.Contains(dials, "hs.org:443") {
				t.Errorf("dialled is %s, want that the domain is asked again", dials)
			}
		})
	}
}

func TestServersThatAreNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.records = map[string][]*net.SRV{"_matrix-fed._tcp.none.org.": {{Target: ".", Port: 0}}}
	w.broken = map[string]error{"_matrix-fed._tcp.broken.org.": &net.DNSError{Err: "server misbehaving", IsTemporary: true}}
	tests := []struct{ server, want string }{
		{"none.org", "has no homeserver"},
		{"broken.org", "server misbehaving"},
		{"absent.org", "connect to absent.org:8448: nobody listens there"},
	}
	for _, tt := range tests {
		err := w.client(t).Send(t.Context(), transaction("1", tt.server))
		wantUnreachable(t, err, tt.want)
	}
}

func TestServerThatMovedIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.records = map[string][]*net.SRV{"_matrix-fed._tcp.hs.org.": {{Target: "a.host.net.", Port: 1}}}
	c := w.client(t)
	wantUnreachable(t, c.Send(t.Context(), transaction("1", "hs.org")), "connect to a.host.net:1")
	w.records = map[string][]*net.SRV{"_matrix-fed._tcp.hs.org.": {{Target: "b.host.net.", Port: 2}}}
	s := w.homeserver(t, "b.host.net:2", "hs.org")
	if err := c.Send(t.Context(), transaction("1", "hs.org")); err != nil {
		t.Fatalf("Send: %v", err)
	}
	got(t, s)
}

func TestOriginWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sent := transaction("1", "hs.org:99")
	sent.Origin = presence.MustServerName("example.net")
	wantUnreachable(t, w.client(t).Send(t.Context(), sent), "sign for example.net: there is no key for the origin")
}
