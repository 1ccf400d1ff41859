package main_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args string
		want string
	}{
		{"no command", "", "router-worker needs a command"},
		{"unknown command", "route", `unknown command "route"`},
		{"mistyped command", "chekc", "did you mean check?"},
		{"group without command", "topology", "router-worker topology needs a command"},
		{"unknown command of a group", "dead bury", `unknown command "bury" of router-worker dead`},
		{"unknown flag", "version --colour", "unknown flag: --colour: see router-worker version --help"},
		{"too many arguments", "publish a b", "accepts at most 1 arg(s), received 2: see router-worker publish --help"},
		{"argument where none is taken", "run config.yaml", "router-worker run"},
		{"flag of the wrong type", "deliveries --count many", `"many"`},
		{"negative count", "deliveries --count -1", "--count is -1: want 0 or more"},
		{"server and user", "deliveries --server example.com --user @a:example.com", "--server and --user exclude each other"},
		{"latest of nobody", "deliveries --latest", "--latest needs --user"},
		{"latest and all", "deliveries --latest --all --user @a:example.com", "--latest and --all exclude each other"},
		{"resume without latest", "deliveries --user @a:example.com --resume f", "--resume needs --latest"},
		{"resume from what is no view", "deliveries --user @a:example.com --latest --resume main_test.go --nats nats://127.0.0.1:1", "--resume: file main_test.go: decode view"},
		{"query without command", "query", "router-worker query needs a command"},
		{"query without users", "query current-states", "requires at least 1 arg"},
		{"query of no user ID", "query interested-users alice", `invalid user ID "alice"`},
		{"query with a negative limit", "query interested-users @a:b --limit -1", "--limit is -1: want 0 or more"},
		{"query for no user ID", "query current-states @a:b --for alice", `--for: invalid user ID "alice"`},
		{"no user ID", "deliveries --user alice", `--user: invalid user ID "alice"`},
		{"no server name", "deliveries --server a_b", "--server: invalid server name"},
		{"no URL", "topology plan --nats example.com", `--nats is "example.com": want nats://host:port`},
		{"purge without yes", "dead purge", "say so with --yes"},
		{"requeue without IDs", "dead requeue", "takes IDs, or --all"},
		{"requeue IDs and all", "dead requeue 1 --all", "takes IDs, or --all"},
		{"requeue IDs by reason", "dead requeue 1 --reason malformed", "takes IDs, or --all"},
		{"watch without a terminal", "status --watch", "--watch needs a terminal"},
		{"watch as JSON", "status --watch --json", "--watch and --json exclude each other"},
		{"short interval", "status --interval 10ms", "--interval is 10ms: want 500ms to 1h0m0s"},
		{"negative patience", "status --late -1s", "--late is -1s: want 0s or more"},
		{"no ID", "dead show first", `ID is "first": want a number`},
		{"unknown reason", "dead list --reason bad", `--reason is "bad": want one of [malformed`},
		{"negative limit", "dead list --limit -1", "--limit is -1: want 0 or more"},
		{"demo at no address", "demo --listen 4222", `--listen is "4222": want host:port`},
		{"partitions that are no number", "topology repartition many", `N is "many": want a number`},
		{"negative wait", "topology repartition 8 --wait -1s", "--wait is -1s: want 0 or more"},
		{"config that is missing", "run --config /nonexistent/config.yaml", "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, 2, "", nil, strings.Fields(tt.args)...)
			if got := p.stderr.String(); !strings.Contains(got, tt.want) {
				t.Errorf("router-worker %s says %q, want %q in it", tt.args, got, tt.want)
			}
			if got := p.stdout.String(); got != "" {
				t.Errorf("router-worker %s writes %q to stdout, want nothing", tt.args, got)
			}
		})
	}
}

func TestEveryCommandHelpsWithAnExample(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"", "run", "federate", "demo", "publish", "deliveries", "check", "topology", "topology plan", "topology apply", "topology repartition",
		"status", "dead", "dead list", "dead show", "dead requeue", "dead purge", "query", "query interested-users", "query users-for-states", "query send-online-presence",
		"query current-states", "version",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			args := append(strings.Fields(command), "--help")
			p := expect(t, 0, "", nil, args...)
			example := "Examples:\n  router-worker " + command
			if command == "publish" || command == "query users-for-states" || command == "" {
				example = "Examples:\n"
			}
			if got := p.stdout.String(); !strings.Contains(got, example) {
				t.Errorf("help of %q is %q, want %q in it", command, got, example)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	p := expect(t, 0, "", nil, "version")
	if got := p.stdout.String(); !strings.HasPrefix(got, "router-worker ") || strings.Count(got, "\n") != 1 {
		t.Errorf("version says %q, want one line", got)
	}
	var version struct{ Version, Go, Platform string }
	p = expect(t, 0, "", nil, "version", "--json")
	if err := json.Unmarshal([]byte(p.stdout.String()), &version); err != nil {
		t.Fatal(err)
	}
	if version.Version == "" || version.Go == "" || version.Platform == "" {
		t.Errorf("version --json says %s, want version, go and platform", p.stdout)
	}
}
