package main_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/presence-router/presence-router/internal/natstest"
)

const (
	permissionsPage = "../../docs/permissions.md"
	apiPrefix       = "presence.js" // of the page
)

// guarded is a server with the accounts of the page about permissions, and the user
// admin beside the router's users, who may do everything.
type guarded struct {
	url  string
	seed string // path of the file with the seed of the nkey
	does *doings
}

// runGuarded starts a server with the blocks of the page as they are written there. It
// notes what is denied, and with isTraced also what users do, which takes time.
func runGuarded(tb testing.TB, isTraced bool) *guarded {
	tb.Helper()
	return runAccounts(tb, pageAccounts(tb), isTraced)
}

// runAccounts is runGuarded with other accounts.
func runAccounts(tb testing.TB, accounts string, isTraced bool) *guarded {
	tb.Helper()
	options, seed := optionsOf(tb, accounts)
	options.Host, options.Port, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	s, err := server.NewServer(options)
	if err != nil {
		tb.Fatal(err)
	}
	g := &guarded{seed: write(tb, "queries.nk", seed), does: newDoings()}
	s.SetLogger(g.does, false, isTraced)
	go s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(bound) {
		tb.Fatal("nats-server does not get ready")
	}
	g.url = s.ClientURL()
	return g
}

var passwordVariable = regexp.MustCompile(`\$(\w+_PASSWORD)`)

// optionsOf returns the options of a server with accounts, and the seed of the nkey that it
// knows. Each password is "secret".
func optionsOf(tb testing.TB, accounts string) (options *server.Options, seed string) {
	tb.Helper()
	seed, public := newSeed(tb)
	options, err := server.ProcessConfigFile(write(tb, "nats-server.conf", guardedConfig(tb, accounts, public)))
	if err != nil {
		tb.Fatal(err)
	}
	return options, seed
}

// newSeed returns the seed of a new nkey for a user, and its public key.
func newSeed(tb testing.TB) (seed, public string) {
	tb.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		tb.Fatal(err)
	}
	private, privateErr := pair.Seed()
	public, publicErr := pair.PublicKey()
	if err := errors.Join(privateErr, publicErr); err != nil {
		tb.Fatal(err)
	}
	return string(private), public
}

// pageAccounts returns the blocks of the page, with the admin.
func pageAccounts(tb testing.TB) string {
	tb.Helper()
	accounts := strings.Join(permissionBlocks(tb), "\n")
	const users = "ROUTER {\n  jetstream: enabled\n  users: [\n"
	if strings.Count(accounts, users) != 1 {
		tb.Fatalf("the page does not have %q once", users)
	}
	return strings.Replace(accounts, users, users+"    {user: admin, password: secret}\n", 1)
}

var userEntry = regexp.MustCompile(`(?s) {4}\{(user|nkey): .*?\}+\n`)

// oneAccount returns the users of the page in one account, as the page says that their
// lists are then.
func oneAccount(tb testing.TB) string {
	tb.Helper()
	users := strings.Join(userEntry.FindAllString(pageAccounts(tb), -1), "")
	users = strings.NewReplacer(apiPrefix, "$JS.API", `"_R_.>"`, `"_R_.>", "_INBOX.>"`).Replace(users)
	return "ROUTER {\n  jetstream: enabled\n  users: [\n" + users + "  ]\n}\n"
}

func guardedConfig(tb testing.TB, accounts, nkey string) string {
	tb.Helper()
	var config strings.Builder
	fmt.Fprintf(&config, "jetstream { store_dir: %q }\nQUERIES_NKEY: %s\n", tb.TempDir(), nkey)
	for _, variable := range passwordVariable.FindAllStringSubmatch(accounts, -1) {
		fmt.Fprintf(&config, "%s: secret\n", variable[1])
	}
	fmt.Fprintf(&config, "accounts {\n%s}\n", accounts)
	return config.String()
}

// permissionBlocks returns the fenced blocks of the page that are configuration of a
// NATS server.
func permissionBlocks(tb testing.TB) []string {
	tb.Helper()
	page, err := os.ReadFile(permissionsPage)
	if err != nil {
		tb.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(page), "```nats\n")[1:] {
		block, _, found := strings.Cut(part, "```\n")
		if !found {
			tb.Fatalf("a block of %s has no end: %s", permissionsPage, part)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// as returns the environment of a program that logs in as user.
func (g *guarded) as(user string) []string {
	return append(natsAt(strings.Replace(g.url, "nats://", "nats://"+user+":secret@", 1)),
		"ROUTER_WORKER_NATS_INBOX_PREFIX=_INBOX."+user, "ROUTER_WORKER_WORKER_APPLY_TOPOLOGY=false",
		"ROUTER_WORKER_NATS_QUERIES_CREDENTIALS="+g.seed)
}

// connect returns a connection of user.
func (g *guarded) connect(tb testing.TB, user string) *nats.Conn {
	tb.Helper()
	login := nats.UserInfo(user, "secret")
	if user == nkeyUser {
		var err error
		if login, err = nats.NkeyOptionFromSeed(g.seed); err != nil {
			tb.Fatal(err)
		}
	}
	return natstest.Connect(tb, g.url, login, nats.CustomInboxPrefix("_INBOX."+user),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// permitted is a user of the page.
type permitted struct {
	name, account string
	*server.Permissions
}

// nkeyUser is what the tests call the user that logs in with an nkey.
const nkeyUser = "queries"

// permittedUsers returns the users of the page.
func permittedUsers(tb testing.TB) []permitted {
	tb.Helper()
	options, _ := optionsOf(tb, pageAccounts(tb))
	var users []permitted
	for _, u := range options.Users {
		if u.Permissions != nil { // the admin has none
			users = append(users, permitted{u.Username, u.Account.Name, u.Permissions})
		}
	}
	for _, u := range options.Nkeys {
		users = append(users, permitted{nkeyUser, u.Account.Name, u.Permissions})
	}
	return users
}

// doings is the log of a server that keeps what each user did and what was denied.
type doings struct {
	mu     sync.Mutex
	done   map[string][]string // of each user, such as "publish a.b"
	denied map[string][]string
}

func newDoings() *doings {
	return &doings{done: make(map[string][]string), denied: make(map[string][]string)}
}

var (
	loggedOperation = regexp.MustCompile(`"\w+/(user|nkey):(\w+)" - <<- \[(H?PUB|SUB) (\S+)`)
	loggedViolation = regexp.MustCompile(`"\w+/(user|nkey):(\w+)" - (Publish|Subscription) Violation - (Subject|Reply) "([^"]*)"`)
)

func (d *doings) Tracef(format string, v ...any) {
	found := loggedOperation.FindStringSubmatch(fmt.Sprintf(format, v...))
	if found == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	verb := "publish"
	if found[3] == "SUB" {
		verb = "subscribe"
	}
	user := nameIn(found)
	d.done[user] = append(d.done[user], verb+" "+found[4])
}

func (d *doings) Errorf(format string, v ...any) {
	found := loggedViolation.FindStringSubmatch(fmt.Sprintf(format, v...))
	if found == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	verb := map[string]string{"Publish": "publish", "Subscription": "subscribe"}[found[3]]
	if found[4] == "Reply" {
		verb = "reply"
	}
	user := nameIn(found)
	d.denied[user] = append(d.denied[user], verb+" "+found[5])
}

func nameIn(found []string) string {
	if found[1] == "nkey" {
		return nkeyUser
	}
	return found[2]
}

func (d *doings) Noticef(string, ...any) {}
func (d *doings) Warnf(string, ...any)   {}
func (d *doings) Fatalf(string, ...any)  {}
func (d *doings) Debugf(string, ...any)  {}

// of returns what user did, and what the server denied.
func (d *doings) of(user string) (done, denied []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.done[user]), slices.Clone(d.denied[user])
}
