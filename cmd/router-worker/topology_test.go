package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestTopology(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	js := jetStream(t, urlOf(env))

	planned := expect(t, 0, "", env, "topology", "plan").stdout.String()
	if strings.Count(planned, "create ") != 5 || strings.Count(planned, "\n") != 5 {
		t.Errorf("plan says %q, want five streams to create", planned)
	}
	if got := len(streamNames(t, js)); got != 0 {
		t.Fatalf("plan made %d streams", got)
	}
	if got := expect(t, 0, "", env, "topology", "apply").stdout.String(); got != planned {
		t.Errorf("apply says %q, want what plan said: %q", got, planned)
	}
	for _, command := range []string{"plan", "apply"} {
		if got := expect(t, 0, "", env, "topology", command).stdout.String(); got != "nothing to change\n" {
			t.Errorf("then %s says %q, want nothing to change", command, got)
		}
		if got := expect(t, 0, "", env, "topology", command, "--json").stdout.String(); got != `{"changes":[]}`+"\n" {
			t.Errorf("then %s --json says %q, want no changes", command, got)
		}
	}

	env = append(env, "ROUTER_WORKER_STREAMS_DELIVERIES_MAX_AGE=20m")
	want := "update PRESENCE_DELIVERIES: max_age from 15m0s to 20m0s\n"
	if got := expect(t, 0, "", env, "topology", "apply").stdout.String(); got != want {
		t.Errorf("apply says %q, want %q", got, want)
	}
}

func TestTopologyRefusesToLoseData(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_STREAMS_UPDATES_MAX_AGE=1h", "ROUTER_WORKER_STREAMS_DELIVERIES_MAX_AGE=20m")
	if got := expect(t, 1, "", env, "topology", "plan").stdout.String(); !strings.Contains(got, "refuse PRESENCE_UPDATES: ") {
		t.Errorf("plan says %q, want that a change is refused", got)
	}
	const want = "router-worker: refused: stream PRESENCE_UPDATES"
	if got := expect(t, 1, "", env, "topology", "plan", "--json").stderr.String(); !strings.Contains(got, want) {
		t.Errorf("plan complains %q, want the refusal", got)
	}
	p := expect(t, 1, "", env, "topology", "apply", "--json")
	if got := p.stderr.String(); !strings.Contains(got, want) {
		t.Errorf("apply complains %q, want the refusal", got)
	}
	var plan struct {
		Changes []struct{ Stream, Action, Setting, Reason string }
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan.Changes) != 2 || plan.Changes[0].Action != "refuse" || plan.Changes[0].Reason == "" || plan.Changes[1].Action != "keep" {
		t.Errorf("apply --json says %+v, want a refusal, and that the other change is not made", plan.Changes)
	}
	if got := expect(t, 1, "", env, "topology", "plan").stdout.String(); !strings.Contains(got, "keep PRESENCE_DELIVERIES: max_age is 15m0s") {
		t.Errorf("then plan says %q: apply changed something", got)
	}
}

func TestTopologyAllowsWeaker(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_STREAMS_UPDATES_MAX_AGE=1h")
	if got := expect(t, 1, "", env, "topology", "apply").stderr.String(); !strings.Contains(got, "if that is meant, run router-worker topology apply --allow-weaker") {
		t.Errorf("apply complains %q, want the flag", got)
	}
	want := "weaken PRESENCE_UPDATES: max_age from 24h0m0s to 1h0m0s: messages that are kept now would be deleted\n"
	for _, command := range []string{"plan", "apply"} {
		if got := expect(t, 0, "", env, "topology", command, "--allow-weaker").stdout.String(); got != want {
			t.Errorf("%s --allow-weaker says %q, want %q", command, got, want)
		}
	}
	if got := expect(t, 0, "", env, "topology", "plan").stdout.String(); got != "nothing to change\n" {
		t.Errorf("then plan says %q, want nothing to change", got)
	}
}

func TestTopologyApplyShowsWhatItMade(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	js := jetStream(t, urlOf(env))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"presence.deliver.>"}}); err != nil {
		t.Fatal(err)
	}
	p := expect(t, 1, "", env, "topology", "apply")
	if got := p.stdout.String(); !strings.HasPrefix(got, "create PRESENCE_UPDATES: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("apply says %q, want the one stream it created before it failed", got)
	}
	if got := p.stderr.String(); !strings.HasPrefix(got, "router-worker: create stream PRESENCE_DELIVERIES: ") {
		t.Errorf("apply complains %q, want the stream that it could not create", got)
	}
	// Now nothing is made before it fails.
	if got := expect(t, 1, "", env, "topology", "apply").stdout.String(); got != "" {
		t.Errorf("then apply says %q, want nothing", got)
	}
	if got := streamNames(t, js); len(got) != 2 {
		t.Errorf("there are streams %v, want one that apply made", got)
	}
}

func TestTopologyRepartition(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	p := expect(t, 0, "", env, "topology", "repartition", "24", "--json")
	want := `{"before":{"generation":0,"partitions":4},"now":{"generation":1,"partitions":24},"changed":true}` + "\n"
	if got := p.stdout.String(); got != want {
		t.Errorf("repartition --json says %q, want %q", got, want)
	}
	if got := p.stderr.String(); strings.Count(got, "\n") != 3 {
		t.Errorf("repartition notes %q, want a line for each step but the handover, as there is no worker", got)
	}
	keep := "keep PRESENCE_UPDATES: number of partitions is 24, configured is 4: change it with router-worker topology repartition 4\n"
	for _, command := range []string{"plan", "apply"} {
		if got := expect(t, 0, "", env, "topology", command).stdout.String(); got != keep {
			t.Errorf("then %s says %q, want %q", command, got, keep)
		}
	}
	if got := expect(t, 0, "", env, "topology", "repartition", "4").stdout.String(); got != "24 partitions are 4 now; set streams.partitions to 4\n" {
		t.Errorf("repartition back says %q", got)
	}
	if got := expect(t, 0, "", env, "topology", "repartition", "4").stdout.String(); got != "nothing to change: the streams have 4 partitions\n" {
		t.Errorf("repartition again says %q", got)
	}
	if got := expect(t, 2, "", env, "topology", "repartition", "257").stderr.String(); !strings.Contains(got, "partitions is 257: want 1 to 256") {
		t.Errorf("repartition to too many complains %q, want the bound", got)
	}
}

func TestTopologyRepartitionInterrupted(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	js := jetStream(t, urlOf(env))
	publish := func() {
		publishRaw(t, js, "presence.update.example%2Ecom.bob", `{"user_id":"@bob:example.com","state":"online"}`, nil)
	}
	publish()
	if got := expect(t, 1, "", env, "topology", "repartition", "6", "--wait", "0s").stderr.String(); !strings.Contains(got, "run the command again to go on") {
		t.Errorf("repartition without a worker complains %q, want what to do", got)
	}
	publish()
	const want = "change from 4 to 6 partitions is under way"
	keep := "keep PRESENCE_UPDATES: number of partitions is 4, configured is 4: a " + want + "; if no command is at work, run: router-worker topology repartition 6\n"
	if got := expect(t, 0, "", env, "topology", "plan").stdout.String(); got != keep {
		t.Errorf("then plan says %q, want %q", got, keep)
	}
	if got := expect(t, 0, "", env, "status").stdout.String(); !strings.Contains(got, "\n! A "+want+"; 1 update waits for it, the oldest for ") {
		t.Errorf("then status says %q, want that a change is under way", got)
	}
	r := readStatus(t, env).Repartition
	if r == nil || r.From != 4 || r.To != 6 || r.Began == "" || *r.Waiting != 1 || r.OldestWaiting == nil {
		t.Errorf("then status --json shows the change %+v, want one from 4 to 6 that 1 update waits for", r)
	}
}

func streamNames(tb testing.TB, js jetstream.JetStream) []string {
	tb.Helper()
	var names []string
	lister := js.StreamNames(tb.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		tb.Fatal(err)
	}
	return names
}

func TestTopologyRepair(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	js := jetStream(t, urlOf(env))
	if got := expect(t, 0, "", env, "topology", "repair", "--yes").stdout.String(); got != "nothing to repair\n" {
		t.Errorf("repair says %q, want nothing to repair", got)
	}
	if got := expect(t, 0, "", env, "topology", "repair", "--json").stdout.String(); got != `{"repairs":[]}`+"\n" {
		t.Errorf("repair --json says %q, want no repairs", got)
	}
	publishRaw(t, js, "presence.checkpoint.3", "rubbish", nats.Header{"Nats-Rollup": {"sub"}})
	p := expect(t, 1, "", env, "topology", "repair", "--yes")
	if got := p.stdout.String(); !strings.HasPrefix(got, "refuse checkpoint of partition 3: message 1: decode checkpoint: ") || !strings.Contains(got, "choose with --from: \"oldest\"") {
		t.Errorf("repair says %q, want that a choice is needed", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, "1 of 1 repairs need a choice") {
		t.Errorf("repair complains %q, want that a choice is needed", got)
	}
	if got := expect(t, 0, "", env, "status").stdout.String(); !strings.Contains(got, "\n! What no worker wrote has replaced the checkpoint of partition 3 ") {
		t.Errorf("status says %q, want a warning", got)
	}
	want := "write checkpoint of partition 3: a new one, at update 0: message 1: "
	for _, command := range []string{"repair --from newest", "repair --from newest --yes"} {
		args := append([]string{"topology"}, strings.Fields(command)...)
		if got := expect(t, 0, "", env, args...).stdout.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s says %q, want %q", command, got, want)
		}
	}
	if got := expect(t, 0, "", env, "topology", "repair").stdout.String(); got != "nothing to repair\n" {
		t.Errorf("then repair says %q, want nothing to repair", got)
	}
	if got := expect(t, 2, "", env, "topology", "repair", "--from", "never").stderr.String(); !strings.Contains(got, `from is "never": want oldest, newest or the sequence of an update`) {
		t.Errorf("repair from never complains %q, want the bound", got)
	}
}
