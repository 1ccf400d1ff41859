package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
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
		{"source of nothing", "source", "router-worker source needs a command"},
		{"unknown command of a group", "dead bury", `unknown command "bury" of router-worker dead`},
		{"unknown flag", "version --colour", "unknown flag: --colour: see router-worker version --help"},
		{"too many arguments", "publish a b", "router-worker publish takes at most 1 argument, got 2: router-worker publish [FILE] [flags]"},
		{"argument where none is taken", "run config.yaml", `router-worker run takes no arguments, got "config.yaml": to name the configuration, write --config config.yaml`},
		{"one argument too many", "version now", "router-worker version takes no arguments, got 1: router-worker version"},
		{"argument that is missing", "dead show", "router-worker dead show takes 1 argument, got 0: router-worker dead show ID"},
		{"help of an unknown command", "help nosuch", `unknown command "nosuch" of router-worker: see router-worker --help`},
		{"help of a mistyped command", "help dead lst", `unknown command "lst" of router-worker dead: did you mean list?`},
		{"flag of the wrong type", "deliveries --count many", `"many"`},
		{"negative count", "deliveries --count -1", "--count is -1: want 0 or more"},
		{"consumer of two tokens", "deliveries --consumer a.b", `--consumer: Name is "a.b": want 1 to 255 visible characters`},
		{"server and user", "deliveries --server example.com --user @a:example.com", "--server and --user exclude each other"},
		{"latest of nobody", "deliveries --latest", "--latest needs --user"},
		{"latest and all", "deliveries --latest --all --user @a:example.com", "--latest and --all exclude each other"},
		{"resume without latest", "deliveries --user @a:example.com --resume f", "--resume needs --latest"},
		{"resume from what is no view", "deliveries --user @a:example.com --latest --resume main_test.go --nats nats://127.0.0.1:1", "--resume: file main_test.go: decode view"},
		{"query without command", "query", "router-worker query needs a command"},
		{"query without users", "query current-states", "router-worker query current-states takes at least 1 argument, got 0: router-worker query current-states USER"},
		{"query of no user ID", "query interested-users alice", `invalid user ID "alice"`},
		{"query with a negative limit", "query interested-users @a:b --limit -1", "--limit is -1: want 0 or more"},
		{"query for no user ID", "query current-states @a:b --for alice", `--for: invalid user ID "alice"`},
		{"no user ID", "deliveries --user alice", `--user: invalid user ID "alice"`},
		{"prefix with a wildcard", "deliveries --api-prefix a.*", `--api-prefix: API prefix is "a.*": want 1 to 8 tokens`},
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
		"", "run", "federate", "source", "source dendrite", "demo", "publish", "deliveries", "check", "topology", "topology plan", "topology apply", "topology repartition", "topology repair",
		"status", "dead", "dead list", "dead show", "dead requeue", "dead purge", "query", "query interested-users", "query users-for-states", "query send-online-presence",
		"query current-states", "version", "help",
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

func TestHelpCommandHelps(t *testing.T) {
	t.Parallel()
	if got := expect(t, 0, "", nil, "help", "dead", "list").stdout.String(); got != expect(t, 0, "", nil, "dead", "list", "--help").stdout.String() {
		t.Errorf("help dead list says %q, want what dead list --help says", got)
	}
	all := expect(t, 0, "", nil, "help").stdout.String()
	for _, want := range []string{"\n  completion ", "\n  help ", "\n  dead ", "--version"} {
		if !strings.Contains(all, want) {
			t.Errorf("help says %q, want %q in it", all, want)
		}
	}
}

func TestShellsComplete(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	js := jetStream(t, urlOf(env))
	startWorker(t, env)
	for range 3 {
		publishRaw(t, js, "presence.update.example%2Ecom.bob", "{", nil)
	}
	eventually(t, func() error {
		if got := natstest.Count(t, js, "PRESENCE_DEAD", ">"); got != 3 {
			return fmt.Errorf("there are %d dead letters, want 3", got)
		}
		return nil
	})
	const letter = "\tmalformed presence.update.example%2Ecom.bob\n"
	tests := []struct{ args, want string }{
		{"dead list --reason ", "malformed\ninvalid_user_id\n"},
		{"dead show ", "1" + letter + "2" + letter + "3" + letter},
		{"dead show 1 ", ":4\n"},
		{"dead requeue 1 ", "2" + letter + "3" + letter},
		{"dead requeue --nats nats://" + unusedAddress(t) + " ", ":36\n"},
		{"help dead l", "list\tList dead letters, oldest first\n"},
		{"run ", ":4\n"}, // no files
		{"publish ", ":0\n"},
	}
	for _, tt := range tests {
		args := strings.Split("__complete "+tt.args, " ")
		if got := expect(t, 0, "", env, args...).stdout.String(); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q completes to %q, want that it begins with %q", tt.args, got, tt.want)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	p := expect(t, 0, "", nil, "version")
	if got := p.stdout.String(); !strings.HasPrefix(got, "router-worker ") || strings.Count(got, "\n") != 1 {
		t.Errorf("version says %q, want one line", got)
	}
	if flag := expect(t, 0, "", nil, "--version").stdout.String(); flag != p.stdout.String() {
		t.Errorf("--version says %q, want %q", flag, p.stdout)
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
