package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

// withStreams returns the environment of a server that has the streams.
func withStreams(tb testing.TB) []string {
	tb.Helper()
	env := natsAt(natstest.Run(tb).URL())
	expect(tb, 0, "", env, "topology", "apply")
	return env
}

func urlOf(env []string) string { return strings.TrimPrefix(env[0], "ROUTER_WORKER_NATS_URL=") }

type publishSummary struct{ Published, Rejected, Unacknowledged int }

func summaryOf(tb testing.TB, p *process) publishSummary {
	tb.Helper()
	var s publishSummary
	if err := json.Unmarshal([]byte(p.stdout.String()), &s); err != nil {
		tb.Fatalf("decode %q: %v", p.stdout, err)
	}
	return s
}

func TestPublishStoresEveryUpdate(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	js := jetStream(t, urlOf(env))
	p := expect(t, 0, "", env, "publish", captureFile, "--json")
	if got, want := summaryOf(t, p), (publishSummary{Published: 670}); got != want {
		t.Errorf("publish says %+v, want %+v", got, want)
	}
	if got := natstest.Count(t, js, "PRESENCE_UPDATES", ">"); got != 670 {
		t.Errorf("the stream holds %d updates, want 670", got)
	}
	// Another run publishes again: message IDs are those of a run.
	stdin := `{"user_id":"@jo.ann:example.com","state":"online"}`
	p = expect(t, 0, stdin, env, "publish", "-")
	if got := p.stdout.String(); !strings.HasPrefix(got, "published 1 update in ") || p.stderr.String() != "" {
		t.Errorf("publish says %q and %q, want one update", got, p.stderr)
	}
	p = expect(t, 0, stdin+"\n", env, "publish")
	if got := natstest.Count(t, js, "PRESENCE_UPDATES", "presence.update.*.example%2Ecom.jo%2Eann"); got != 8 {
		t.Errorf("the stream holds %d updates of @jo.ann, want 6 of the capture and 2: %s", got, p.stdout)
	}
}

func TestPublishReportsBadLines(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	good := `{"user_id":"@bob:example.com","state":"online"}`
	lines := []string{
		"\ufeff" + good, "", "{", good, "\t", `{"user_id":"bob","state":"online"}`, good + "\r",
		`{"user_id":"@bob:example.com","state":"` + "\x1b[31m" + `"}`,
		`{"user_id":"@bob:example.com","state":"asleep"}`,
		`{"user_id":"@bob:example.com","state":"online","status_msg":"` + strings.Repeat("x", 300<<10) + `"}`,
		good,
	}
	p := expect(t, 1, strings.Join(lines, "\n"), env, "publish")
	want := []string{
		"line 3: malformed", "line 6: invalid_user_id", "line 8: malformed", "line 9: invalid_state", "line 10: too_large",
		"router-worker: 5 lines are no updates",
	}
	got := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if len(got) != len(want) {
		t.Fatalf("publish complains %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) || strings.Contains(got[i], "\x1b") {
			t.Errorf("publish complains %q, want %q", got[i], want[i])
		}
	}
	if got := p.stdout.String(); !strings.HasPrefix(got, "published 4 updates") || !strings.Contains(got, "rejected 5 lines") {
		t.Errorf("publish says %q, want 4 published and 5 rejected", got)
	}
	if got := natstest.Count(t, jetStream(t, urlOf(env)), "PRESENCE_UPDATES", ">"); got != 4 {
		t.Errorf("the stream holds %d updates, want 4", got)
	}
}

func TestPublishReportsAtMost20BadLines(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	p := expect(t, 1, strings.Repeat("bad\n", 50), env, "publish", "--json")
	got := p.stderr.String()
	if strings.Count(got, "malformed") != 20 || !strings.Contains(got, "and 30 more lines") {
		t.Errorf("publish complains %q, want 20 lines and a count", got)
	}
	if got := summaryOf(t, p); got != (publishSummary{Rejected: 50}) {
		t.Errorf("publish says %+v, want 50 rejected", got)
	}
}

func TestPublishOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	p := expect(t, 1, "", withStreams(t), "publish", t.TempDir())
	if got := p.stderr.String(); !strings.HasPrefix(got, "router-worker: read capture: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("publish complains %q, want one line that says why", got)
	}
	if got := p.stdout.String(); !strings.HasPrefix(got, "published 0 updates") || !strings.HasSuffix(got, "rejected 0 lines\n") {
		t.Errorf("publish says %q, want nothing published or rejected", got)
	}
}

func TestPublishEndsAtASignal(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	p := startWithOpenInput(t, env, "publish", "--json")
	if _, err := fmt.Fprintln(p.stdin, `{"user_id":"@bob:example.com","state":"online"}`); err != nil {
		t.Fatal(err)
	}
	js := jetStream(t, urlOf(env))
	eventually(t, func() error {
		if got := natstest.Count(t, js, "PRESENCE_UPDATES", ">"); got != 1 {
			return fmt.Errorf("the stream holds %d updates, want 1", got)
		}
		return nil
	})
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 1 || !strings.Contains(p.stderr.String(), "signal: terminated") {
		t.Errorf("publish ends with %d and %q, want 1 and the signal", got, p.stderr)
	}
	// The update is stored, and its acknowledgement may be on its way.
	if got := summaryOf(t, p.process); got.Published+got.Unacknowledged != 1 || got.Rejected != 0 {
		t.Errorf("publish says %+v, want one update, published or without an answer", got)
	}
}
