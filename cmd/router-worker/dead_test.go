package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
)

// withDeadLetters returns the environment of a server with three dead letters,
// which have the IDs 1 to 3: malformed with an escape sequence in it, malformed,
// and an update on the subject of another user.
func withDeadLetters(t *testing.T) []string {
	t.Helper()
	env, _ := withWorker(t, routed)
	js := jetStream(t, urlOf(env))
	for i, update := range []string{
		"{\x1b[31m",
		`{"user_id":"@bob:example.com","state":"online","last_active_ts":-1}`,
		`{"user_id":"@mallory:example.com","state":"online"}`,
	} {
		publishRaw(t, js, "presence.update.example%2Ecom.bob", update, map[string][]string{"X-From": {"test"}})
		eventually(t, func() error {
			if got := natstest.Count(t, js, "PRESENCE_DEAD", ">"); got != i+1 {
				return fmt.Errorf("%d dead letters are kept, want %d", got, i+1)
			}
			return nil
		})
	}
	return env
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	env := withDeadLetters(t)
	list := expect(t, 0, "", env, "dead", "list").stdout.String()
	lines := strings.Split(strings.TrimSpace(list), "\n")
	want := []string{"ID ", "1 ", "2 ", "3 "}
	if len(lines) != len(want) || strings.Contains(list, "\x1b") {
		t.Fatalf("dead list shows %q, want a heading and three letters", list)
	}
	reason := strings.Index(lines[0], "REASON")
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
		if i > 0 && !strings.HasPrefix(line[reason:], "malformed") && !strings.HasPrefix(line[reason:], "subject_mismatch") {
			t.Errorf("line %q has no reason in its column", line)
		}
	}
	if !strings.Contains(lines[2], "last_active_ts") {
		t.Errorf("line %q does not say what is wrong", lines[2])
	}
	p := expect(t, 0, "", env, "dead", "list", "--limit", "2")
	if got := strings.Count(p.stdout.String(), "\n"); got != 3 || !strings.Contains(p.stderr.String(), "and more") {
		t.Errorf("dead list --limit 2 shows %q and %q, want two letters", p.stdout, p.stderr)
	}
	if got := expect(t, 0, "", env, "dead", "list", "--limit", "3"); got.stderr.String() != "" {
		t.Errorf("dead list --limit 3 says %q, want nothing", got.stderr)
	}
	p = expect(t, 0, "", env, "dead", "list", "--reason", "subject_mismatch", "--json")
	var kept struct {
		ID     uint64
		Letter struct{ Reason, Subject, Payload string }
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), &kept); err != nil {
		t.Fatalf("decode %q: %v", p.stdout, err)
	}
	if kept.ID != 3 || kept.Letter.Subject != "presence.update.example%2Ecom.bob" || kept.Letter.Payload == "" {
		t.Errorf("dead list --json shows %+v, want the whole letter 3", kept)
	}
	if got := expect(t, 0, "", env, "dead", "list", "--reason", "too_large").stdout.String(); got != "no dead letters\n" {
		t.Errorf("dead list shows %q, want none", got)
	}
}

func TestDeadShow(t *testing.T) {
	t.Parallel()
	env := withDeadLetters(t)
	got := expect(t, 0, "", env, "dead", "show", "1").stdout.String()
	for _, want := range []string{"malformed", "presence.update.example%2Ecom.bob", "#1", "header X-From", `{\x1b[31m`} {
		if !strings.Contains(got, want) {
			t.Errorf("dead show says %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Errorf("dead show says %q, with a control character", got)
	}
	if got := expect(t, 0, "", env, "dead", "show", "3", "--json").stdout.String(); !strings.HasPrefix(got, `{"id":3,`) {
		t.Errorf("dead show --json says %q", got)
	}
	if got := expect(t, 1, "", env, "dead", "show", "17").stderr.String(); got != "router-worker: no such dead letter: 17\n" {
		t.Errorf("dead show 17 complains %q", got)
	}
}

func TestDeadRequeue(t *testing.T) {
	t.Parallel()
	env := withDeadLetters(t)
	p := expect(t, 1, "", env, "dead", "requeue", "1", "17", "2")
	if got := p.stdout.String(); got != "requeued dead letter 1 as update 4\nrequeued dead letter 2 as update 5\n" {
		t.Errorf("dead requeue says %q", got)
	}
	if got := p.stderr.String(); got != "router-worker: no such dead letter: 17\nrouter-worker: 1 of 3 dead letters are not requeued\n" {
		t.Errorf("dead requeue complains %q", got)
	}
	// They die again, as new letters.
	js := jetStream(t, urlOf(env))
	eventually(t, func() error {
		if got := expect(t, 0, "", env, "dead", "list", "--json").stdout.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, `{"id":5,`) {
			return fmt.Errorf("kept are %s", got)
		}
		return nil
	})
	got := expect(t, 0, "", env, "dead", "requeue", "--all", "--reason", "subject_mismatch", "--json").stdout.String()
	if got != `{"id":3,"sequence":6}`+"\n" {
		t.Errorf("dead requeue --all says %q, want letter 3 only", got)
	}
	if got := natstest.Count(t, js, "PRESENCE_UPDATES", ">"); got != 6 {
		t.Errorf("the stream holds %d updates, want 6", got)
	}
	if got := expect(t, 0, "", env, "dead", "requeue", "--all", "--reason", "too_large").stdout.String(); got != "no dead letters\n" {
		t.Errorf("dead requeue --all says %q, want that there are none", got)
	}
}

func TestDeadPurge(t *testing.T) {
	t.Parallel()
	env := withDeadLetters(t)
	if got := expect(t, 0, "", env, "dead", "purge", "--reason", "malformed", "--yes").stdout.String(); got != "purged 2 dead letters\n" {
		t.Errorf("dead purge says %q, want 2", got)
	}
	if got := expect(t, 0, "", env, "dead", "purge", "--yes", "--json").stdout.String(); got != `{"purged":1}`+"\n" {
		t.Errorf("dead purge --json says %q, want 1", got)
	}
	if got := expect(t, 0, "", env, "dead", "list").stdout.String(); got != "no dead letters\n" {
		t.Errorf("then dead list shows %q", got)
	}
}

// What the server stored among the dead letters for somebody who named them as the
// reply subject is passed over.
func TestForgedDeadLetter(t *testing.T) {
	t.Parallel()
	env := withDeadLetters(t)
	js := jetStream(t, urlOf(env))
	update := &nats.Msg{
		Subject: "presence.update.example%2Ecom.bob", Reply: "presence.dead.malformed", Data: []byte(`{"user_id":"@bob:example.com","state":"online"}`),
	}
	if err := js.Conn().PublishMsg(update); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := natstest.Count(t, js, "PRESENCE_DEAD", ">"); got != 4 {
			return fmt.Errorf("%d messages in PRESENCE_DEAD, want 4", got)
		}
		return nil
	})
	const note = "messages passed over that are no dead letters: 1; the first: decode dead letter 4: decode dead letter: reason is missing"
	p := expect(t, 0, "", env, "dead", "list", "--json")
	if got := p.stdout.String(); strings.Count(got, "\n") != 3 {
		t.Errorf("dead list says %q, want the 3 letters", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, note) {
		t.Errorf("dead list notes %q, want %q", got, note)
	}
	p = expect(t, 0, "", env, "dead", "requeue", "--all", "--json")
	if got := p.stdout.String(); strings.Count(got, "\n") != 3 {
		t.Errorf("dead requeue --all says %q, want the 3 letters", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, note) {
		t.Errorf("dead requeue --all notes %q, want %q", got, note)
	}
}
