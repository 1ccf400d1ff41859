package main_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/matrixtest"
	"github.com/presence-router/presence-router/internal/natstest"
)

// abroad is another homeserver, with what it takes to send to it.
type abroad struct {
	*matrixtest.Server

	authority *matrixtest.Authority
	worker    *process
	env       []string // of a NATS server on which a worker routes bob to a user of it
}

// withAbroad starts another homeserver and a worker that routes to it.
func withAbroad(tb testing.TB) *abroad {
	tb.Helper()
	return withAbroadAt(tb, withStreams(tb))
}

// withAbroadAt is withAbroad on the streams of a server.
func withAbroadAt(tb testing.TB, env []string) *abroad {
	tb.Helper()
	a := newAbroad(tb, env)
	a.worker = startWorker(tb, append(slices.Clone(env),
		fmt.Sprintf(`ROUTER_WORKER_MODULES=[{module: static, config: {routes: [{recipients: ["@eva:%s"], users: ["@bob:example.com"]}]}}]`, a.Address())))
	return a
}

// newAbroad starts another homeserver, and no worker that routes to it.
func newAbroad(tb testing.TB, env []string) *abroad {
	tb.Helper()
	seed := make([]byte, ed25519.SeedSize)
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	a := &abroad{authority: matrixtest.NewAuthority(tb)}
	a.Server = matrixtest.Start(tb, a.authority.Certificate(tb, "127.0.0.1"), map[string]ed25519.PublicKey{"example.com ed25519:a_test": public})
	key := write(tb, "signing.key", "ed25519 a_test "+base64.RawStdEncoding.EncodeToString(seed)+"\n")
	a.env = append(slices.Clone(env),
		fmt.Sprintf("ROUTER_WORKER_FEDERATE_KEYS=[{server_name: example.com, key_file: %q}]", key),
		"ROUTER_WORKER_FEDERATE_CA="+a.authority.File(tb), "ROUTER_WORKER_FEDERATE_BLOCKED_NETWORKS=[]",
		"ROUTER_WORKER_FEDERATE_FIRST_RETRY=10ms", "ROUTER_WORKER_FEDERATE_LONGEST_RETRY=100ms",
		"ROUTER_WORKER_FEDERATE_ACK_WAIT=1s",
	)
	return a
}

// federate starts a sender and waits until it is ready.
func (a *abroad) federate(tb testing.TB, env ...string) *process {
	tb.Helper()
	p := start(tb, "", append(slices.Clone(a.env), env...), "federate")
	eventually(tb, func() error {
		if code, body := get(tb, p, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("/readyz answers %d: %s", code, body)
		}
		return nil
	})
	return p
}

// says publishes that bob is online and says text.
func (a *abroad) says(tb testing.TB, text string, active int64) {
	tb.Helper()
	publishRaw(tb, jetStream(tb, urlOf(a.env)), "presence.update.example%2Ecom.bob",
		fmt.Sprintf(`{"user_id":"@bob:example.com","state":"online","status_msg":%q,"last_active_ts":%d}`, text, active), nil)
}

func (a *abroad) next(tb testing.TB) matrixtest.Transaction {
	tb.Helper()
	select {
	case received := <-a.Got():
		return received
	case <-time.After(bound):
		tb.Fatalf("no transaction after %v", bound)
	}
	panic("unreachable")
}

// wantBob fails the test where a transaction is not one entry about bob, who says
// text.
func wantBob(tb testing.TB, received matrixtest.Transaction, text string) matrixtest.Push {
	tb.Helper()
	if len(received.EDUs) != 1 || received.EDUs[0].Type != "m.presence" || len(received.EDUs[0].Content.Push) != 1 {
		tb.Fatalf("sent is %s, want one EDU with one entry", received.Body)
	}
	push := received.EDUs[0].Content.Push[0]
	if push.UserID != "@bob:example.com" || push.Presence != "online" || push.StatusMsg == nil || *push.StatusMsg != text ||
		push.CurrentlyActive == nil || *push.CurrentlyActive {
		tb.Errorf("sent is %s, want that bob says %q", received.Body, text)
	}
	return push
}

func TestFederateSends(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	p := a.federate(t)
	awaitMetric(t, p, `presence_router_sender_states_total{outcome="stale"} 0`+"\n")
	awaitMetric(t, p, `presence_router_sender_batches_total{outcome="unknown"} 0`+"\n")
	awaitMetric(t, p, "presence_router_sender_malformed_deliveries_total 0\n")
	a.says(t, "lunch ☕", 0)
	received := a.next(t)
	if push := wantBob(t, received, "lunch ☕"); push.LastActiveAgo != nil {
		t.Errorf("bob was last active %d ms ago, want that this is left out", *push.LastActiveAgo)
	}
	if received.Destination != a.Address() || received.Host != a.Address() {
		t.Errorf("sent to %s with Host %s, want %s", received.Destination, received.Host, a.Address())
	}
	awaitMetric(t, p, `presence_router_federation_request_duration_seconds_count{outcome="200"} 1`)
	for _, want := range []string{
		`presence_router_sender_states_total{outcome="sent"} 1` + "\n", `presence_router_sender_batches_total{outcome="sent"} 1` + "\n",
		"presence_router_sender_held_states 0\n", "presence_router_sender_delay_seconds_count 1\n",
	} {
		awaitMetric(t, p, want)
	}
	wantAnswer(t, p, "/healthz", "alive\n")
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("federate ends with %d after SIGTERM, want 0", got)
	}
}

func TestFederateTriesAgainWithTheSameTransaction(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	a.Fail(
		matrixtest.Status(http.StatusTooManyRequests, `{"errcode":"M_LIMIT_EXCEEDED"}`, "Retry-After", "1"),
		matrixtest.Status(http.StatusInternalServerError, "oops"),
		matrixtest.Slow, matrixtest.Closed,
	)
	p := a.federate(t, "ROUTER_WORKER_FEDERATE_REQUEST_TIMEOUT=1s")
	a.says(t, "first", 0)
	first := a.next(t)
	refused := time.Now()
	a.says(t, "second", 0)
	for try := range 4 {
		again := a.next(t)
		if again.ID != first.ID || again.Body != first.Body {
			t.Errorf("sent again is %s %s, want %s %s", again.ID, again.Body, first.ID, first.Body)
		}
		if waited := time.Since(refused); try == 0 && waited < 900*time.Millisecond {
			t.Errorf("sent again after %v, want a second as the server said", waited)
		}
	}
	second := a.next(t)
	wantBob(t, second, "second")
	if second.ID == first.ID {
		t.Errorf("both transactions have the ID %s", first.ID)
	}
	awaitMetric(t, p, `presence_router_federation_request_duration_seconds_count{outcome="429"} 1`)
	if log := p.stderr.String(); strings.Count(log, "destination fails") != 1 || !strings.Contains(log, "destination works again") {
		t.Errorf("the log is %s, want one line when it begins and one when it is over", log)
	} else if strings.Count(log, "try again after") != 1 {
		t.Errorf("the log is %s, want one word about when to try again", log)
	}
}

func TestFederateSendsOneEntryAfterAnOutage(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	a.Present(a.authority.Certificate(t, "192.0.2.1")) // with which it is not the server that is meant
	p := a.federate(t)
	active := time.Now().Add(-9 * time.Second).UnixMilli()
	for i := range 6 {
		a.says(t, strconv.Itoa(i), active+int64(i)*1500)
	}
	awaitMetric(t, p, `presence_router_sender_states_total{outcome="merged"} 5`+"\n")
	back := time.Now().UnixMilli()
	a.Present(a.authority.Certificate(t, "127.0.0.1"))
	push := wantBob(t, a.next(t), "5")
	last := active + 5*1500
	if ago, arrived := push.LastActiveAgo, time.Now().UnixMilli(); ago == nil || *ago < back-last-1000 || *ago > arrived-last {
		t.Errorf("bob was last active %v ms ago, want %d to %d", ago, back-last, arrived-last)
	}
	awaitMetric(t, p, "presence_router_sender_held_deliveries 0\n")
	if len(a.Got()) > 0 {
		t.Errorf("another transaction was sent: %s", a.next(t).Body)
	}
	if log := p.stderr.String(); !strings.Contains(log, "not sent: ") || strings.Contains(log, "nothing was sent") {
		t.Errorf("the log is %s, want that it says once that nothing was sent", log)
	}
}

func TestFederateThatIsKilledLosesNothing(t *testing.T) {
	t.Parallel()
	a := withAbroad(t)
	a.Fail(matrixtest.Slow)
	p := a.federate(t)
	a.says(t, "first", 0)
	wantBob(t, a.next(t), "first")
	p.signal(syscall.SIGKILL)
	<-p.exited
	a.federate(t)
	wantBob(t, a.next(t), "first")
}

func TestFederateReportsWhatItCannotUse(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	key := write(t, "signing.key", "ed25519 a_test hunter2\n")
	keys := "ROUTER_WORKER_FEDERATE_KEYS=[{server_name: %s, key_file: %q}]"
	open := withMode(t, 0o666, signingKey)
	tests := []struct {
		name string
		env  string
		want string
	}{
		{"no key", "ROUTER_WORKER_FEDERATE_NAME=x", "federate.keys is missing: want a key of example.com, one of server_names"},
		{"key of another server", fmt.Sprintf(keys, "example.org", key), `federate.keys[0].server_name is "example.org": want one of [example.com]`},
		{"no file", fmt.Sprintf(keys, "example.com", "/nonexistent"), "federate.keys[0].key_file: open /nonexistent: no such file"},
		{"a key that everybody can write", fmt.Sprintf(keys, "example.com", open), "federate.keys[0].key_file: mode of " + open + " is 0666: every user can write it, want 0600 or 0640"},
		{"no key in the file", fmt.Sprintf(keys, "example.com", key), "invalid signing key: the seed is not 32 bytes in unpadded base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, 2, "", append(slices.Clone(env), tt.env, "ROUTER_WORKER_FEDERATE_CA="+key), "federate")
			got := p.stderr.String()
			if !strings.Contains(got, tt.want) || strings.Contains(got, "hunter2") {
				t.Errorf("federate says %q, want %q in it", got, tt.want)
			}
		})
	}
}

const signingKey = "ed25519 a_test AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"

// withMode writes a secret to a file of that mode.
func withMode(tb testing.TB, mode os.FileMode, secret string) string {
	tb.Helper()
	path := write(tb, "secret", secret)
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestSecretsThatOthersCanReadAreReported(t *testing.T) {
	t.Parallel()
	at := append(natsAt("nats://"+unusedAddress(t)), "ROUTER_WORKER_NATS_CONNECT_TIMEOUT=100ms")
	seed, _ := newSeed(t)
	tests := []struct {
		mode os.FileMode
		warn bool
	}{{0o600, false}, {0o640, false}, {0o440, false}, {0o660, true}, {0o444, true}}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%o", tt.mode), func(t *testing.T) {
			t.Parallel()
			secrets := map[string]string{
				"federate.keys[0].key_file": withMode(t, tt.mode, signingKey),
				"nats.credentials":          withMode(t, tt.mode, seed),
			}
			env := append(slices.Clone(at), "ROUTER_WORKER_NATS_CREDENTIALS="+secrets["nats.credentials"],
				fmt.Sprintf("ROUTER_WORKER_FEDERATE_KEYS=[{server_name: example.com, key_file: %q}]", secrets["federate.keys[0].key_file"]))
			p := expect(t, 1, "", env, "federate")
			for key, path := range secrets {
				warning := fmt.Sprintf(`level=WARN msg="other users can read or write a secret" key=%s file=%s mode=%04o`, key, path, tt.mode)
				if got := strings.Contains(p.stderr.String(), warning); got != tt.warn {
					t.Errorf("federate says %q, want a warning of %s: %v", p.stderr, key, tt.warn)
				}
			}
		})
	}
}
