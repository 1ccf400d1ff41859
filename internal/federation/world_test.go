package federation_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/federation"
	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/routing/presence"
)

const eventTimeout = 30 * time.Second

// world is the network of a test: names and addresses lead to servers of the test.
type world struct {
	authority *matrixtest.Authority
	key       federation.Key
	public    map[string]ed25519.PublicKey

	mu      sync.Mutex
	places  map[string]string     // host:port -> address of a listener
	records map[string][]*net.SRV // service.name. -> records
	broken  map[string]error      // service.name. -> error of the look-up
	dialled []string
	now     time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	key, err := federation.ParseKey([]byte("ed25519 a_test " + base64.RawStdEncoding.EncodeToString(seed) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return &world{
		authority: matrixtest.NewAuthority(t), key: key,
		public: map[string]ed25519.PublicKey{"example.com ed25519:a_test": public},
		places: make(map[string]string), records: make(map[string][]*net.SRV), broken: make(map[string]error),
		now: time.Now(),
	}
}

// LookupSRV implements federation.Resolver.
func (w *world) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := "_" + service + "._" + proto + "." + name
	if err := w.broken[key]; err != nil {
		return "", nil, err
	}
	if records := w.records[key]; records != nil {
		return key, records, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: key, IsNotFound: true}
}

var errNobody = errors.New("nobody listens there")

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	place, found := w.places[address]
	w.dialled = append(w.dialled, address)
	w.mu.Unlock()
	if !found {
		return nil, errNobody
	}
	return new(net.Dialer).DialContext(ctx, network, place)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// dials returns what was dialled since it was called last.
func (w *world) dials() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.dialled, " ")
	w.dialled = nil
	return all
}

func (w *world) place(address, listener string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.places[address] = listener
}

// homeserver starts a homeserver with a certificate for names at an address.
func (w *world) homeserver(t *testing.T, address string, names ...string) *matrixtest.Server {
	t.Helper()
	s := matrixtest.Start(t, w.authority.Certificate(t, names...), w.public)
	w.place(address, s.Address())
	return s
}

// website starts the HTTPS server of a domain.
func (w *world) website(t *testing.T, domain string, answer http.HandlerFunc) {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.TLS = tlsConfig(w.authority.Certificate(t, domain))
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	w.place(domain+":443", s.Listener.Addr().String())
}

// delegates answers with a delegation.
func delegates(to string, headers ...string) http.HandlerFunc {
	return matrixtest.Status(http.StatusOK, fmt.Sprintf(`{"m.server":%q}`, to), headers...)
}

func (w *world) client(t *testing.T, changes ...func(*federation.Config)) *federation.Client {
	t.Helper()
	config := federation.Config{
		Keys:           map[presence.ServerName]federation.Key{presence.MustServerName("example.com"): w.key},
		Roots:          w.authority.Pool(),
		ConnectTimeout: 10 * time.Second,
		RequestTimeout: eventTimeout,
		Connections:    10,
		UserAgent:      "presence-router test",
	}
	for _, change := range changes {
		change(&config)
	}
	c, err := federation.NewClient(config, federation.WithResolver(w), federation.WithDial(w.dial), federation.WithClock(w.clock))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// transaction is one of one EDU.
func transaction(id, destination string) federation.Transaction {
	return federation.Transaction{
		ID: id, Origin: presence.MustServerName("example.com"), Destination: presence.MustServerName(destination),
		Time: time.UnixMilli(1795378782366),
		EDUs: []federation.EDU{{Type: "m.presence", Content: json.RawMessage(`{"push":[{"user_id":"@bob:example.com","presence":"online",` +
			`"status_msg":"\u2028 <☕> \"\\ \u0001\n","last_active_ago":12,"currently_active":true}]}`)}},
	}
}

func got(t *testing.T, s *matrixtest.Server) matrixtest.Transaction {
	t.Helper()
	return await(t, s.Got(), "transaction")
}

func await[T any](t *testing.T, event <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(eventTimeout):
		t.Fatalf("no %s within %v", what, eventTimeout)
	}
	panic("unreachable")
}
