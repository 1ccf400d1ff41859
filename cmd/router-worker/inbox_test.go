package main_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// withInboxesOfTheirOwn starts a server of which the users worker and hs may
// subscribe to nothing but their own inboxes, and to what the worker serves. It
// returns the environment of a user.
func withInboxesOfTheirOwn(tb testing.TB) (as func(user string) []string) {
	tb.Helper()
	hears := func(user string, more ...string) *server.User {
		return &server.User{Username: user, Password: "secret", Permissions: &server.Permissions{
			Subscribe: &server.SubjectPermission{Allow: append(more, "_INBOX."+user+".>")},
		}}
	}
	url := runServer(tb, &server.Options{JetStream: true, StoreDir: tb.TempDir(), Users: []*server.User{
		{Username: "admin", Password: "secret"}, hears("worker", "presence.router.*", "$SRV.>", "$KV.PRESENCE_WORKERS.>"), hears("hs"),
	}})
	return func(user string) []string {
		return append(natsAt(strings.Replace(url, "nats://", "nats://"+user+":secret@", 1)), "ROUTER_WORKER_NATS_INBOX_PREFIX=_INBOX."+user)
	}
}

func TestEveryCommandHasItsOwnInboxes(t *testing.T) {
	t.Parallel()
	as := withInboxesOfTheirOwn(t)
	hs := as("hs")
	expect(t, 0, "", hs, "topology", "apply")
	a := withAbroadAt(t, as("worker"))
	a.env[0] = as("admin")[0]
	sender := a.federate(t, hs...)
	expect(t, 0, strings.Replace(bobIsOnline, "}", `,"status_msg":"hello"}`, 1), hs, "publish")
	wantBob(t, a.next(t), "hello")
	publishRaw(t, jetStream(t, urlOf(a.env)), "presence.update.example%2Ecom.bob", "no JSON", nil)
	eva := "@eva:" + a.Address()
	for _, command := range []string{
		"deliveries --all --count 1", "deliveries --latest --count 1 --user " + eva + " --resume " + filepath.Join(t.TempDir(), "resume.json"),
		"status", "dead list", "dead requeue --all", "dead purge --yes", "topology plan", "topology repair --yes",
		"query interested-users " + eva, "query current-states --for @alice:example.com @bob:example.com",
		"query users-for-states", "query send-online-presence " + eva, "topology repartition 5",
	} {
		expect(t, 0, bobIsOnline, hs, strings.Fields(command)...)
	}
	for _, p := range []*process{sender, a.worker} {
		p.signal(syscall.SIGTERM)
		if got := p.code(); got != 0 || strings.Contains(strings.ToLower(p.stderr.String()), "permission") {
			t.Errorf("%v ends with %d and says %s, want 0 and nothing about permissions", p.cmd.Args[1:], got, p.stderr)
		}
	}
	refused := expect(t, 1, bobIsOnline, hs[:len(hs)-1], "publish")
	if got := refused.stderr.String(); !strings.Contains(got, `Subscription to "_INBOX.`) {
		t.Errorf("publish without a prefix says %s, want that it may not subscribe", got)
	}
}
