package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

const guardedRoutes = `ROUTER_WORKER_MODULES=[{module: static, config: {routes: [
  {recipients: ["@alice:example.com", "@eva:%s"], users: ["@bob:example.com"]},
  {recipients: ["@eva:island.example"], users: ["@carol:example.com"]}]}}]`

// TestPermissionsAreEnough has every role of the page do all that it is for. Nobody is
// denied anything, and every line of the lists is used.
func TestPermissionsAreEnough(t *testing.T) {
	t.Parallel()
	g := runGuarded(t, true)
	operator := g.as("operator")
	expect(t, 0, "", operator, "topology", "plan")
	expect(t, 0, "", operator, "topology", "apply")
	a := newAbroad(t, g.as("federate"))
	worker := startWorker(t, append(g.as("worker"), fmt.Sprintf(guardedRoutes, a.Address())))
	sender := a.federate(t, "ROUTER_WORKER_FEDERATE_API_PREFIX="+apiPrefix)

	g.publishes(t)
	wantBob(t, a.next(t), "")
	g.follows(t)
	for received := a.next(t); !strings.Contains(received.Body, `"lunch"`); {
		received = a.next(t)
	}
	stop(t, sender)
	g.asks(t)
	g.reads(t)
	g.looksAfterTheDead(t)
	for _, arguments := range []string{"status", "status --json"} {
		expect(t, 0, "", g.as("status"), strings.Fields(arguments)...)
	}
	expect(t, 0, "", operator, "topology", "repair")
	expect(t, 0, "", operator, "topology", "repartition", "5")
	g.awaitCount(t)
	stop(t, worker)
	g.wantEveryLineUsed(t)
}

// awaitCount waits until the worker has counted what is pending, which it does every
// few seconds.
func (g *guarded) awaitCount(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		done, _ := g.does.of("worker")
		for _, line := range []string{"publish $JS.API.DIRECT.GET.PRESENCE_UPDATES", "publish $JS.API.CONSUMER.INFO.PRESENCE_UPDATES."} {
			if !slices.ContainsFunc(done, func(subject string) bool { return strings.HasPrefix(subject, line) }) {
				return errors.New("the worker has not counted what is pending: " + line)
			}
		}
		return nil
	})
}

// stop ends a service in good order.
func stop(t *testing.T, p *process) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("%v ends with %d, want 0", p.cmd.Args[1:], got)
	}
}

// publishes has the homeserver publish with acknowledgements, and one update twice.
func (g *guarded) publishes(t *testing.T) {
	t.Helper()
	expect(t, 0, bobIsOnline, g.as("homeserver"), "publish")
	js := natstest.JetStream(t, g.connect(t, "homeserver"))
	for _, isDuplicate := range []bool{false, true} {
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{
			Subject: "presence.update.example%2Ecom.bob", Data: []byte(bobIsOnline), Header: nats.Header{"Nats-Msg-Id": {"example.com-1"}},
		})
		if err != nil || ack.Duplicate != isDuplicate {
			t.Errorf("publish with an ID is %v, error %v, want duplicate %v", ack, err, isDuplicate)
		}
	}
}

// follows has a source publish what Dendrite says, whose second message leaves the status
// open.
func (g *guarded) follows(t *testing.T) {
	t.Helper()
	d := &dendrited{url: g.url, dendrite: natstest.JetStream(t, g.connect(t, "dendrite"))}
	d.makeStream(t)
	env := append(g.as("source"), "ROUTER_WORKER_SOURCES_API_PREFIX="+apiPrefix, fmt.Sprintf(
		`ROUTER_WORKER_SOURCES_DENDRITE=[{nats: {url: %q, inbox_prefix: _INBOX.follower}, server_names: [example.com], ack_wait: 1s}]`,
		strings.Replace(g.url, "nats://", "nats://follower:secret@", 1)))
	d.puts(t, "online", "lunch") // Nobody reads it: it is dropped.
	p := followWith(t, env)
	publishRaw(t, d.dendrite, dendriteTopic, "", nats.Header{"user_id": {"@dan:example.com"}, "presence": {"online"}, "last_active_ts": {"1"}})
	d.puts(t, "online", "lunch")
	awaitMetric(t, p, `presence_router_source_messages_total{outcome="published",source="example.com"} 2`+"\n")
	stop(t, p)
}

func (g *guarded) asks(t *testing.T) {
	t.Helper()
	for _, query := range []string{
		"interested-users @alice:example.com", "users-for-states", "send-online-presence @alice:example.com", "current-states @bob:example.com",
	} {
		p := expect(t, 0, bobIsOnline, g.as("asker"), append([]string{"query"}, strings.Fields(query)...)...)
		if p.stdout.String() == "" {
			t.Errorf("query %s has no answer", query)
		}
	}
}

// reads has each reader read a delivery of its selection and look its consumer up, as
// readers do once a minute.
func (g *guarded) reads(t *testing.T) {
	t.Helper()
	expect(t, 0, strings.Replace(bobIsOnline, "bob", "carol", 1), g.as("homeserver"), "publish")
	for _, reader := range []string{"archive", "alice --user @alice:example.com", "island --server island.example"} {
		p := expect(t, 0, "", g.as(strings.Fields(reader)[0]), strings.Fields("deliveries --all --count 1 --api-prefix "+apiPrefix+" --consumer "+reader)...)
		if !strings.Contains(p.stdout.String(), ":example.com") {
			t.Errorf("reader %s shows %q, want a delivery", reader, p.stdout)
		}
		g.looksUp(t, strings.Fields(reader)[0])
	}
	latest := fmt.Sprintf("deliveries --latest --count 1 --api-prefix %s --consumer alice --user @alice:example.com --resume %s", apiPrefix, filepath.Join(t.TempDir(), "view"))
	expect(t, 0, "", g.as("alice"), strings.Fields(latest)...)

	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	local := g.client(t, "local", client.WithConsumerName("local"))
	for d, err := range local.Deliveries(ctx, client.InScope(wire.Local), client.Position{}) {
		if err != nil || d.Recipient != presence.MustUserID("@alice:example.com") {
			t.Errorf("local reads a delivery to %v, error %v, want one to alice", d.Recipient, err)
		}
		g.looksUp(t, "local")
		break
	}
	feed := g.client(t, "feed")
	for d, err := range feed.Durable(ctx, client.DurableConfig{Name: "feed", Selection: client.InScope(wire.Local)}) {
		if err != nil {
			t.Fatalf("feed reads error %v", err)
		}
		if err := d.Ack(ctx); err != nil {
			t.Error(err)
		}
		break
	}
}

func (g *guarded) client(t *testing.T, user string, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(g.connect(t, user), client.DefaultPrefix, append(opts, client.WithAPIPrefix(apiPrefix))...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// looksUp looks the consumer of a reader up, which may be gone.
func (g *guarded) looksUp(t *testing.T, reader string) {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(g.connect(t, reader), apiPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Consumer(t.Context(), "PRESENCE_DELIVERIES", reader); err != nil && !strings.Contains(err.Error(), "consumer not found") {
		t.Errorf("%s looks its consumer up: %v", reader, err)
	}
}

func (g *guarded) looksAfterTheDead(t *testing.T) {
	t.Helper()
	hs := natstest.JetStream(t, g.connect(t, "homeserver"))
	publishRaw(t, hs, "presence.update.example%2Ecom.bob", "no JSON", nil)
	dead := g.as("dead")
	eventually(t, func() error {
		if got := expect(t, 0, "", dead, "dead", "list", "--json").stdout.String(); !strings.Contains(got, "malformed") {
			return fmt.Errorf("dead letters are %q", got)
		}
		return nil
	})
	for _, arguments := range []string{"dead show 1", "dead requeue 1", "dead purge --yes"} {
		expect(t, 0, "", dead, strings.Fields(arguments)...)
	}
}

// wantEveryLineUsed wants that nobody was denied anything, that each permission was
// used, and each export and import with it.
func (g *guarded) wantEveryLineUsed(t *testing.T) {
	t.Helper()
	users := permittedUsers(t)
	for _, user := range users {
		done, denied := g.does.of(user.name)
		if len(denied) > 0 {
			t.Errorf("%s was denied %q, want nothing", user.name, denied)
		}
		for verb, allowed := range map[string][]string{"publish": user.Publish.Allow, "subscribe": user.Subscribe.Allow} {
			for _, subject := range allowed {
				if !slices.ContainsFunc(done, func(act string) bool { return uses(act, verb, subject) }) {
					t.Errorf("%s never does what the page allows: %s %s", user.name, verb, subject)
				}
			}
		}
	}
	for _, account := range []string{"HOMESERVER", "READERS", "FEDERATION"} {
		for _, imported := range importsOf(t, account) {
			if !slices.ContainsFunc(users, func(u permitted) bool { return u.account == account && g.published(u.name, imported) }) {
				t.Errorf("account %s imports %s, which nobody uses", account, imported)
			}
		}
	}
}

func uses(act, verb, allowed string) bool {
	did, subject, _ := strings.Cut(act, " ")
	return did == verb && server.SubjectMatchesFilter(subject, allowed)
}

func (g *guarded) published(user, subject string) bool {
	done, _ := g.does.of(user)
	return slices.ContainsFunc(done, func(act string) bool { return uses(act, "publish", subject) })
}

// importsOf returns the subjects that an account of the page calls what it imports.
func importsOf(t *testing.T, account string) []string {
	t.Helper()
	i := slices.IndexFunc(permissionBlocks(t), func(block string) bool { return strings.HasPrefix(block, account+" {") })
	_, list, _ := strings.Cut(permissionBlocks(t)[i], "imports: [")
	var subjects []string
	for _, entry := range strings.Split(list, "{service: ")[1:] {
		_, subject, isRenamed := strings.Cut(entry, `to: "`)
		if !isRenamed {
			_, subject, _ = strings.Cut(entry, `subject: "`)
		}
		subject, _, _ = strings.Cut(subject, `"`)
		subjects = append(subjects, subject)
	}
	return subjects
}

// A user in the URL counts for nothing if the credentials are the seed of an nkey.
func TestSeedLogsIn(t *testing.T) {
	t.Parallel()
	g := runGuarded(t, false)
	p := expect(t, 1, "", append(g.as("operator"), "ROUTER_WORKER_NATS_CREDENTIALS="+g.seed), "topology", "plan")
	if _, denied := g.does.of(nkeyUser); len(denied) == 0 || !strings.Contains(p.stderr.String(), "permission denied") {
		t.Errorf("with a seed that permits little, topology plan says %s, and the server denies %q", p.stderr, denied)
	}
}

// A sender of a shard, or to one server, makes the consumer that the page names for it.
func TestSharesAreNamedAsThePageSays(t *testing.T) {
	t.Parallel()
	g := runGuarded(t, false)
	a := newAbroad(t, g.as("federate"))
	page, err := os.ReadFile(permissionsPage)
	if err != nil {
		t.Fatal(err)
	}
	for share, want := range map[string][2]string{
		"SHARDS=[3]":                    {"federate-shard-3", "presence.deliver.remote.3.>"},
		"DESTINATIONS=[island.example]": {"federate-to-island%2Eexample", "presence.deliver.remote.*.island%2Eexample.*"},
	} {
		start(t, "", append(slices.Clone(a.env), "ROUTER_WORKER_FEDERATE_API_PREFIX="+apiPrefix, "ROUTER_WORKER_FEDERATE_"+share), "federate")
		act := "publish presence.js.CONSUMER.CREATE.PRESENCE_DELIVERIES." + want[0] + "." + want[1]
		eventually(t, func() error {
			if _, denied := g.does.of("federate"); !slices.Contains(denied, act) {
				return fmt.Errorf("denied is %q, want %s", denied, act)
			}
			return nil
		})
		if text := string(page); !strings.Contains(text, "`"+want[0]+"`") || !strings.Contains(text, "`"+want[1]+"`") {
			t.Errorf("the page does not name consumer %s and filter %s", want[0], want[1])
		}
	}
}
