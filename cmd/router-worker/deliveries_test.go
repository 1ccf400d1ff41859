package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const routed = `[{module: static, config: {routes: [
  {recipients: ["@alice:example.com", "@eva:somewhere.org"], users: ["@bob:example.com"]},
  {recipients: ["@jo.ann:example.com", "@eva:elsewhere.net"], users: ["@carol:example.com"]}]}}]`

// withWorker returns the environment of a server on which a worker routes.
func withWorker(tb testing.TB, modules string) ([]string, *process) {
	tb.Helper()
	env := append(withStreams(tb), "ROUTER_WORKER_MODULES="+modules)
	return env, startWorker(tb, env)
}

// startWorker starts a worker and waits until it is ready.
func startWorker(tb testing.TB, env []string) *process {
	tb.Helper()
	p := start(tb, "", env, "run")
	eventually(tb, func() error {
		if code, body := get(tb, p, "/readyz"); code != 200 {
			return fmt.Errorf("/readyz answers %d: %s", code, body)
		}
		return nil
	})
	return p
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	update := `{"user_id":"@%s:example.com","state":"online","status_msg":%q}` + "\n"
	expect(t, 0, fmt.Sprintf(update, "bob", "first")+fmt.Sprintf(update, "carol", "first"), env, "publish")

	// From the oldest on: all four deliveries of the two updates.
	all := expect(t, 0, "", env, "deliveries", "--all", "--count", "4").stdout.String()
	if got := strings.Count(all, "\n"); got != 4 {
		t.Errorf("deliveries --all shows %q, want 4 lines", all)
	}
	tests := []struct {
		name string
		args []string
		want []string // recipients
	}{
		{"one recipient", []string{"--user", "@jo.ann:example.com"}, []string{"@jo.ann:example.com"}},
		{"a recipient of another server", []string{"--user", "@eva:somewhere.org"}, []string{"@eva:somewhere.org"}},
		{"another server", []string{"--server", "elsewhere.net"}, []string{"@eva:elsewhere.net"}},
		{"the own server", []string{"--server", "example.com"}, []string{"@alice:example.com", "@jo.ann:example.com"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"deliveries", "--all", "--json", "--count", strconv.Itoa(len(tt.want))}, tt.args...)
			p := expect(t, 0, "", env, args...)
			got := make(map[string]bool)
			for line := range strings.Lines(p.stdout.String()) {
				var delivery struct{ Recipient string }
				if err := json.Unmarshal([]byte(line), &delivery); err != nil {
					t.Fatalf("decode %q: %v", line, err)
				}
				got[delivery.Recipient] = true
			}
			for _, recipient := range tt.want {
				if !got[recipient] || len(got) != len(tt.want) {
					t.Errorf("%v shows deliveries to %v, want %v", args, got, tt.want)
				}
			}
		})
	}
}

func TestDeliveriesCountsDeliveriesOnly(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	js := jetStream(t, urlOf(env))
	publishRaw(t, js, "presence.deliver.local.0.example%2Ecom.alice", "{", nil)
	startWorker(t, append(env, "ROUTER_WORKER_MODULES="+routed))
	publishRaw(t, js, "presence.update.example%2Ecom.bob", bobIsOnline, nil)
	p := expect(t, 0, "", env, "deliveries", "--all", "--count", "1", "--user", "@alice:example.com")
	if got := p.stdout.String(); strings.Count(got, "@bob:example.com") != 1 {
		t.Errorf("deliveries --count 1 shows %q, want the one delivery", got)
	}
	if got := p.stderr.String(); strings.Count(got, "\n") != 2 {
		t.Errorf("deliveries notes %q, want what it follows and the message that is no delivery", got)
	}
}

func TestDeliveriesFollowsNewOnes(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	update := `{"user_id":"@bob:example.com","state":"online","status_msg":%s}` + "\n"
	expect(t, 0, fmt.Sprintf(update, `"old"`), env, "publish")
	expect(t, 0, "", env, "deliveries", "--all", "--count", "2") // they are stored
	p := start(t, "", env, "deliveries", "--user", "@alice:example.com")
	p.await(p.stderr, "following presence.deliver.*.*.example%2Ecom.alice")
	expect(t, 0, fmt.Sprintf(update, `"\u001b[31mnew\u202e\nline"`), env, "publish")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}  @alice:example\.com +@bob:example\.com +online +#2 +\\x1b\[31mnew\\u202e\\nline\n$`)
	if got := p.await(p.stdout, "\n"); !want.MatchString(got) {
		t.Errorf("deliveries shows %q, want only the new one, escaped, as %s", got, want)
	}
	p.signal(syscall.SIGINT)
	if got := p.code(); got != 0 {
		t.Errorf("deliveries ends with %d after SIGINT, want 0", got)
	}
}

func TestDeliveriesAsJSONAreWhatWorkersCommitted(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	js := jetStream(t, urlOf(env))
	publishRaw(t, js, "presence.update.example%2Ecom.bob", "{\"user_id\" : \"@bob:example.com\", \"state\":\"online\", \"extra\":[1, 2]}", nil)
	raw := expect(t, 0, "", env, "deliveries", "--all", "--count", "1", "--user", "@alice:example.com", "--json").stdout.String()
	if want := `"states":[{"user_id" : "@bob:example.com", "state":"online", "extra":[1, 2]}]}` + "\n"; !strings.HasSuffix(raw, want) {
		t.Errorf("deliveries --json shows %q, want the update as it was published", raw)
	}
	// One that is published over several lines still is one line.
	publishRaw(t, js, "presence.update.example%2Ecom.carol", "{\n \"user_id\": \"@carol:example.com\",\r\n \"state\": \"online\"\n}", nil)
	got := expect(t, 0, "", env, "deliveries", "--all", "--count", "1", "--user", "@jo.ann:example.com", "--json").stdout.String()
	if want := `"states":[{"user_id":"@carol:example.com","state":"online"}]}` + "\n"; strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, want) {
		t.Errorf("deliveries --json shows %q, want one line", got)
	}
}

func TestDeliveriesLatestGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	file := filepath.Join(t.TempDir(), "alice.json")
	update := `{"user_id":"@bob:example.com","state":%q,"status_msg":"\u001b ☕"}` + "\n"
	publish := func(state string) { t.Helper(); expect(t, 0, fmt.Sprintf(update, state), env, "publish") }
	publish("busy")
	publish("online")
	expect(t, 0, "", env, "deliveries", "--all", "--count", "4") // they are stored

	p := start(t, "", env, "deliveries", "--user", "@alice:example.com", "--latest", "--resume", file)
	p.await(p.stderr, "following the newest states for @alice:example.com")
	const row = "@bob:example.com               %-12s %-8s \\x1b ☕\n"
	want := fmt.Sprintf(row, "online", "#2")
	if got := p.await(p.stdout, "#2       \\x1b ☕\n"); got != want {
		t.Errorf("deliveries --latest begins with %q, want %q", got, want)
	}
	publish("unavailable")
	want += fmt.Sprintf(row, "unavailable", "#3")
	if got := p.await(p.stdout, "#3       \\x1b ☕\n"); got != want {
		t.Errorf("deliveries --latest goes on with %q, want %q", got, want)
	}
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 {
		t.Errorf("deliveries ends with %d after SIGTERM, want 0", got)
	}

	publish("offline")
	expect(t, 0, "", env, "deliveries", "--all", "--count", "8") // it is stored
	again := expect(t, 0, "", env, "deliveries", "--user", "@alice:example.com", "--latest", "--resume", file, "--count", "1", "--json")
	if got := again.stdout.String(); !strings.Contains(got, `"sequence":4,"state":{"user_id":"@bob:example.com","state":"offline"`) {
		t.Errorf("deliveries --latest --json says %q, want update 4", got)
	}
	other := expect(t, 2, "", env, "deliveries", "--user", "@dave:example.com", "--latest", "--resume", file).stderr.String()
	if !strings.Contains(other, "is of @alice:example.com, want @dave:example.com of --user") {
		t.Errorf("deliveries with the file of another says %q, want that", other)
	}
}

func TestDeliveriesLatestKeepsItsFile(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	latest := func(code int, file string) string {
		t.Helper()
		return expect(t, code, "", env, "deliveries", "--user", "@alice:example.com", "--latest", "--resume", file, "--count", "1").stderr.String()
	}
	if got := latest(1, filepath.Join(t.TempDir(), "nowhere", "alice.json")); !strings.Contains(got, "save view: ") || strings.Contains(got, "following") {
		t.Errorf("deliveries with a file that cannot be written says %q, want that at once", got)
	}
	expect(t, 0, `{"user_id":"@bob:example.com","state":"online"}`+"\n", env, "publish")
	expect(t, 0, "", env, "deliveries", "--all", "--count", "1") // it is stored
	file, link := filepath.Join(t.TempDir(), "alice.json"), filepath.Join(t.TempDir(), "link.json")
	latest(0, file)
	if err := errors.Join(os.Chmod(file, 0o400), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	latest(0, link)
	info, err := os.Lstat(file)
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("the file is %v, %v, want its mode as it was", info, err)
	}
	if info, err = os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v, want a link", info, err)
	}
}
