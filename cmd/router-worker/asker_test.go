package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

// forbiddenReplies are reply subjects that no worker may publish to.
func forbiddenReplies() []string {
	return []string{
		"$JS.API.STREAM.DELETE.PRESENCE_UPDATES", "$JS.API.STREAM.PURGE.PRESENCE_DELIVERIES", "$JS.API.STREAM.PURGE.KV_PRESENCE_WORKERS",
		"presence.deliver.local.5.example%2Ecom.alice", "presence.dead.malformed", "presence.checkpoint.3",
		"presence.update.example%2Ecom.bob", "presence.router.send_online_presence", "$KV.PRESENCE_WORKERS.layout", "$SRV.PING",
		"_INBOX", "_INBOXX.a", "_R_", "_R_X.a", "_INBOX..a", "_INBOX.a.", "_INBOX.a.>", "_INBOX.*", "_INBOX." + strings.Repeat("a", 1024), "a",
	}
}

// requests returns requests of a hostile asker: right, wrong, large and with many
// headers.
func requests(query string) map[string]*nats.Msg {
	right := map[string]string{
		"interested_users":     `{"user_id":"@alice:example.com"}`,
		"users_for_states":     `{"states":[` + bobIsOnline + `]}`,
		"send_online_presence": `{"users":["@alice:example.com"]}`,
		"current_states":       `{"users":["@bob:example.com"],"for":"@alice:example.com"}`,
	}[query]
	header := nats.Header{"Nats-Rollup": {"all"}, "Nats-Msg-Id": {"1"}}
	for n := range 500 {
		header.Set(fmt.Sprintf("Nats-%d", n), "x")
	}
	requests := make(map[string]*nats.Msg)
	for kind, data := range map[string][]byte{
		"right": []byte(right), "wrong": []byte("nope"), "large": append([]byte(right), bytes.Repeat([]byte(" "), 200_000)...),
	} {
		requests[kind] = &nats.Msg{Subject: "presence.router." + query, Data: data}
	}
	requests["headers"] = &nats.Msg{Subject: "presence.router." + query, Data: []byte(right), Header: header}
	return requests
}

// content returns what the streams hold that only workers and homeservers may change.
// The worker writes its checkpoints again: their positions stay.
func content(tb testing.TB, js jetstream.JetStream) string {
	tb.Helper()
	var all strings.Builder
	for stream, subjects := range map[string][]string{
		"PRESENCE_UPDATES": {">"}, "PRESENCE_DELIVERIES": {"presence.deliver.>", "presence.dead.>"}, "PRESENCE_DEAD": {">"}, "PRESENCE_STATE": {">"},
		"KV_PRESENCE_WORKERS": {"$KV.PRESENCE_WORKERS.layout"},
	} {
		for _, subject := range subjects {
			for _, m := range natstest.Stored(tb, js, stream, subject) {
				fmt.Fprintf(&all, "%s %s %s\n", stream, m.Subject(), m.Data())
			}
		}
	}
	for _, m := range natstest.Stored(tb, js, "PRESENCE_DELIVERIES", "presence.checkpoint.*") {
		var checkpoint struct{ Sequence uint64 }
		err := json.Unmarshal(m.Data(), &checkpoint)
		fmt.Fprintln(&all, m.Subject(), checkpoint, err)
	}
	lines := strings.Split(all.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// A user who may do nothing but ask names reply subjects where the worker may publish
// and he may not.
func TestAskerCannotHaveTheWorkerPublishElsewhere(t *testing.T) {
	t.Parallel()
	url := runServer(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{
		{Username: "admin", Password: "secret"},
		{Username: "asker", Password: "secret", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"presence.router.*", "$SRV.>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.asker.>"}},
		}},
	}})
	as := func(user string) string { return strings.Replace(url, "nats://", "nats://"+user+":secret@", 1) }
	env := append(natsAt(as("admin")), "ROUTER_WORKER_MODULES="+routed)
	expect(t, 0, "", env, "topology", "apply")
	worker := startWorker(t, env)
	for _, query := range []string{"interested_users", "discovery"} {
		awaitMetric(t, worker, fmt.Sprintf("presence_router_queries_misdirected_total{query=%q} 0\n", query))
	}
	expect(t, 0, bobIsOnline, env, "publish")
	expect(t, 0, "", env, "deliveries", "--all", "--count", "2")
	awaitMetric(t, worker, "presence_router_partition_pending{partition=\"0\"} 0\n")
	js := jetStream(t, as("admin"))
	var before string
	eventually(t, func() error { // the last checkpoint may follow
		if last := before; last != content(t, js) {
			before = content(t, js)
			return fmt.Errorf("streams change: %s", before)
		}
		return nil
	})

	asker := natstest.Connect(t, as("asker"), nats.CustomInboxPrefix("_INBOX.asker"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !strings.Contains(err.Error(), serverRefuses) {
				t.Errorf("the server tells the asker: %v", err)
			}
		}))
	sent := attack(t, asker)
	for query, n := range sent {
		awaitMetric(t, worker, fmt.Sprintf("presence_router_queries_misdirected_total{query=%q} %d\n", query, n))
	}
	for query := range sent {
		if query == "discovery" {
			continue
		}
		metrics := awaitMetric(t, worker, fmt.Sprintf("presence_router_queries_total{code=\"200\",query=%q} 0\n", query))
		if strings.Contains(metrics, "presence_router_query_duration_seconds_count") {
			t.Errorf("a query was worked on: %s", metrics)
		}
	}
	if after := content(t, js); after != before {
		t.Errorf("the streams hold\n%s\nand held\n%s", after, before)
	}
	if n := strings.Count(worker.stderr.String(), "a query is not answered"); n != 1 {
		t.Errorf("%d lines about queries that are not answered, want 1", n)
	}
	for _, subject := range []string{"presence.router.interested_users", "$SRV.STATS"} {
		if m, err := asker.Request(subject, []byte(`{"user_id":"@alice:example.com"}`), bound); err != nil || len(m.Data) == 0 {
			t.Errorf("ask %s: %v, %v, want an answer", subject, m, err)
		}
	}
}

// serverRefuses is in the error about a reply subject that nats-server 2.15.3 refuses
// itself, as versions before it do not.
const serverRefuses = `Publish with Reply of "$JS.`

// attack sends every request with every forbidden reply, and returns how many of them
// get to the worker, by query.
func attack(tb testing.TB, asker *nats.Conn) map[string]int {
	tb.Helper()
	sent := make(map[string]int)
	send := func(query string, m *nats.Msg) {
		if err := asker.PublishMsg(m); err != nil {
			tb.Fatalf("publish to %s with reply %s: %v", m.Subject, m.Reply, err)
		}
		if !strings.HasPrefix(m.Reply, "$JS.") {
			sent[query]++
		}
	}
	for _, reply := range forbiddenReplies() {
		for _, query := range []string{"interested_users", "users_for_states", "send_online_presence", "current_states"} {
			for _, m := range requests(query) {
				m.Reply = reply
				send(query, m)
			}
		}
		for _, verb := range []string{"PING", "INFO", "STATS"} {
			for _, suffix := range []string{"", ".presence-router"} {
				send("discovery", &nats.Msg{Subject: "$SRV." + verb + suffix, Reply: reply})
			}
		}
	}
	if err := asker.Flush(); err != nil {
		tb.Fatal(err)
	}
	return sent
}
