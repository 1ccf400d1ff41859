package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/presence-router/presence-router/internal/natstest"
)

// account is one of a server whose users have credentials files.
type account struct {
	*jwt.AccountClaims

	key nkeys.KeyPair
}

func newAccount(tb testing.TB, name string) *account {
	tb.Helper()
	key := newKey(tb, nkeys.CreateAccount)
	a := &account{key: key, AccountClaims: jwt.NewAccountClaims(publicOf(tb, key))}
	a.Name = name
	return a
}

// credentials writes the file of a user who may publish and subscribe to these
// subjects, separated by spaces.
func (a *account) credentials(tb testing.TB, publish, subscribe string) string {
	tb.Helper()
	key := newKey(tb, nkeys.CreateUser)
	user := jwt.NewUserClaims(publicOf(tb, key))
	user.Pub.Allow, user.Sub.Allow = strings.Fields(publish), strings.Fields(subscribe)
	seed, err := key.Seed()
	if err != nil {
		tb.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(encoded(tb, user, a.key), seed)
	if err != nil {
		tb.Fatal(err)
	}
	return write(tb, "user.creds", string(file))
}

// runOperated starts a server with an operator and these accounts.
func runOperated(tb testing.TB, accounts ...*account) string {
	tb.Helper()
	operator, system := newKey(tb, nkeys.CreateOperator), newAccount(tb, "SYS")
	var preload strings.Builder
	for _, a := range append(accounts, system) {
		fmt.Fprintf(&preload, "  %s: %s\n", a.Subject, encoded(tb, a, operator))
	}
	config := fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n%s}\njetstream: {store_dir: %q}\n",
		encoded(tb, jwt.NewOperatorClaims(publicOf(tb, operator)), operator), system.Subject, preload.String(), tb.TempDir())
	options, err := server.ProcessConfigFile(write(tb, "nats.conf", config))
	if err != nil {
		tb.Fatal(err)
	}
	return runServer(tb, options)
}

func newKey(tb testing.TB, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	tb.Helper()
	key, err := create()
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func publicOf(tb testing.TB, key nkeys.KeyPair) string {
	tb.Helper()
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	return public
}

func encoded(tb testing.TB, claims jwt.Claims, signer nkeys.KeyPair) string {
	tb.Helper()
	token, err := claims.Encode(signer)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// service is what askers of another account import.
const service = "presence.router.*"

func withAccounts(tb testing.TB) (router, asking *account, url string) {
	tb.Helper()
	router, asking = newAccount(tb, "ROUTER"), newAccount(tb, "ASKING")
	router.Limits.MemoryStorage, router.Limits.DiskStorage = jwt.NoLimit, jwt.NoLimit
	router.Exports.Add(&jwt.Export{Subject: service, Type: jwt.Service})
	asking.Imports.Add(&jwt.Import{Account: router.Subject, Subject: service, Type: jwt.Service})
	return router, asking, runOperated(tb, router, asking)
}

// The user that answers queries needs what docs/operating.md says and nothing else;
// askers are of the same account or of another one.
func TestCredentialsOfQueries(t *testing.T) {
	t.Parallel()
	router, asking, url := withAccounts(t)
	env := append(natsAt(url), "ROUTER_WORKER_MODULES="+routed, "ROUTER_WORKER_NATS_CREDENTIALS="+router.credentials(t, ">", ">"))
	expect(t, 0, "", env, "topology", "apply")
	expect(t, 0, bobIsOnline, env, "publish")
	worker := startWorker(t, append(env,
		"ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+router.credentials(t, "_INBOX.> _R_.>", "presence.router.* $SRV.>")))
	eventually(t, func() error { // The newest states follow the updates.
		p := expect(t, 0, "", env, "query", "current-states", "@bob:example.com")
		if !strings.Contains(p.stdout.String(), "@bob") {
			return fmt.Errorf("current-states says %s", p.stdout)
		}
		return nil
	})
	for name, a := range map[string]*account{"same": router, "other": asking} {
		t.Run(name+" account", func(t *testing.T) {
			as := append(natsAt(url), "ROUTER_WORKER_NATS_INBOX_PREFIX=_INBOX.asker",
				"ROUTER_WORKER_NATS_CREDENTIALS="+a.credentials(t, "presence.router.* $SRV.>", "_INBOX.asker.>"))
			for _, query := range []struct{ command, want string }{
				{"interested-users @alice:example.com", "@bob:example.com"},
				{"users-for-states", "@alice:example.com"},
				{"current-states --for @alice:example.com @bob:example.com", "@bob:example.com"},
				{"send-online-presence @alice:example.com", "1"},
			} {
				p := expect(t, 0, bobIsOnline, as, strings.Fields("query "+query.command)...)
				if got := p.stdout.String(); !strings.Contains(got, query.want) {
					t.Errorf("query %s says %q, want %s", query.command, got, query.want)
				}
			}
		})
	}
	if log := worker.stderr.String(); strings.Contains(strings.ToLower(log), "permission") || strings.Contains(log, "not answered") {
		t.Errorf("the worker says %s, want nothing about permissions and replies", log)
	}
}

// A worker answers with the credentials of queries, and says what they lack.
func TestCredentialsOfQueriesThatLackSomething(t *testing.T) {
	t.Parallel()
	router, _, url := withAccounts(t)
	all := router.credentials(t, ">", ">")
	env := append(natsAt(url), "ROUTER_WORKER_NATS_CREDENTIALS="+all)
	expect(t, 0, "", env, "topology", "apply")
	worker := startWorker(t, append(env, "ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+router.credentials(t, "nothing", "presence.router.* $SRV.>")))
	if err := natstest.Connect(t, url, nats.UserCredentials(all)).PublishRequest("presence.router.interested_users", "_INBOX.a", nil); err != nil {
		t.Fatal(err)
	}
	worker.await(worker.stderr, `Permissions Violation for Publish to \"_INBOX.a\"`)

	missing := filepath.Join(t.TempDir(), "queries.creds")
	p := expect(t, 2, "", append(env, "ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+missing), "run")
	if got := p.stderr.String(); !strings.Contains(got, "nats.queries.credentials: open "+missing) {
		t.Errorf("run says %s, want that it cannot open the file", got)
	}
	stranger := newAccount(t, "STRANGER").credentials(t, ">", ">")
	p = expect(t, 1, "", append(env, "ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+stranger), "run")
	if got := p.stderr.String(); !strings.Contains(got, "connect for queries: nats: Authorization Violation") {
		t.Errorf("run says %s, want that the server refuses the connection for queries", got)
	}
	if err := os.Chmod(all, 0o644); err != nil { //nolint:gosec // So that the worker warns of it.
		t.Fatal(err)
	}
	p = start(t, "", append(env, "ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+all), "run")
	p.await(p.stderr, `msg="other users can read or write a secret" key=nats.queries.credentials`)
}
