package main_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCheckReportsAllFaults(t *testing.T) {
	t.Parallel()
	env := []string{"ROUTER_WORKER_WORKER_BATCH=many", "ROUTER_WORKER_NATS_ULR=nats://a:4222"}
	p := expect(t, 2, "", env, "check", "testdata/faults.yaml")
	golden(t, "faults.golden", p.stderr.String())
	if got := p.stdout.String(); got != "" {
		t.Errorf("stdout holds %q, want nothing", got)
	}
	// A worker says the same and does not start.
	if got := expect(t, 2, "", env, "run", "--config", "testdata/faults.yaml").stderr.String(); got != p.stderr.String() {
		t.Errorf("run says %q, want what check says", got)
	}
}

func TestCheckReportsFaultsAsJSON(t *testing.T) {
	t.Parallel()
	p := expect(t, 2, "", nil, "check", "testdata/faults.yaml", "--json")
	var report struct {
		Valid  bool
		Faults []struct {
			File    string
			Line    int
			Path    string
			Message string
		}
	}
	if err := json.Unmarshal([]byte(p.stdout.String()), &report); err != nil {
		t.Fatalf("decode %q: %v", p.stdout, err)
	}
	if report.Valid || len(report.Faults) < 2 || report.Faults[0].File != "testdata/faults.yaml" || report.Faults[0].Line == 0 {
		t.Errorf("check --json reports %+v, want the faults with their places", report)
	}
}

func TestCheckShowsWhatIsConfigured(t *testing.T) {
	t.Parallel()
	env := []string{"ROUTER_WORKER_NATS_URL=nats://user:secret@nats.example.com:4222"}
	p := expect(t, 0, "", env, "check", "internal/demo/example.yaml")
	golden(t, "check.golden", p.stdout.String())
	asJSON := expect(t, 0, "", append(env, "ROUTER_WORKER_CONFIG=internal/demo/example.yaml"), "check", "--json").stdout.String()
	golden(t, "check.json", asJSON)
	if strings.Contains(p.stdout.String()+asJSON, "secret") {
		t.Error("check shows the password of NATS")
	}
}

// What can never work is valid, and told by check and at the start of a worker.
func TestCheckWarns(t *testing.T) {
	t.Parallel()
	file := write(t, "config.yaml", `server_names: [Example.com]
modules: [{module: static, config: {routes: [{recipients: ["@alice:example.com"], users: ["@bob:example.com"]}]}}]
`)
	const alike = "modules name users of example.com, server_names has Example.com: names that differ by letter case are two servers"
	const never = "modules[0].config.routes[0]: nobody in it is of server_names, so nothing of it is ever delivered"
	if got := expect(t, 0, "", nil, "check", file).stdout.String(); !strings.HasPrefix(got, "valid") || !strings.HasSuffix(got, "\n! "+alike+"\n! "+never+"\n") {
		t.Errorf("check says %q, want two warnings at the end", got)
	}
	var report struct{ Warnings []string }
	asJSON := expect(t, 0, "", nil, "check", file, "--json").stdout.String()
	if err := json.Unmarshal([]byte(asJSON), &report); err != nil || !slices.Equal(report.Warnings, []string{alike, never}) {
		t.Errorf("check --json says %s, %v, want the warnings %q and %q", asJSON, err, alike, never)
	}
	env := append(withStreams(t), "ROUTER_WORKER_CONFIG="+file, "ROUTER_WORKER_SERVER_NAMES=Example.com")
	if got := startWorker(t, env).stderr.String(); strings.Count(got, `level=WARN msg="the configuration has what can never work"`) != 2 {
		t.Errorf("a worker logs %q, want both warnings", got)
	}
}

func TestCheckShowsNoControlCharacters(t *testing.T) {
	t.Parallel()
	config := write(t, "config.yaml", "server_names: [example.com]\nnats: {url: \"nats://\\e[31mred:4222\"}\nmodules: [{module: \"\\e[31mstatic\"}]\n")
	p := expect(t, 2, "", nil, "check", config)
	if got := p.stderr.String(); strings.Contains(got, "\x1b") || !strings.Contains(got, `\x1b`) {
		t.Errorf("check says %q, want escaped control characters", got)
	}
}

func TestCheckReadsTheEnvironmentAlone(t *testing.T) {
	t.Parallel()
	p := expect(t, 0, "", []string{"ROUTER_WORKER_SERVER_NAMES=a.example.com,b.example.com"}, "check")
	if got := p.stdout.String(); !strings.Contains(got, "a.example.com, b.example.com") {
		t.Errorf("check says %q, want both servers", got)
	}
}

func TestCheckSaysThatNoFileIsNamed(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"check", "run"} {
		want := "router-worker: 1 fault in the configuration:\nenvironment: server_names is missing: want the server names whose users are local, such as [example.com]\n"
		got := expect(t, 2, "", nil, command).stderr.String()
		if !strings.HasPrefix(got, "router-worker: no configuration file is named") || !strings.HasSuffix(got, want) {
			t.Errorf("%s says %q, want that no file is named, and %q", command, got, want)
		}
	}
}

func TestExampleIsTheOneThatDesignShows(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("internal/demo/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`- recipients: ["@alice:example.com"]`,
		`users: ["@bob:example.com", "@charlie:somewhere.org"]`,
		`config: {users_who_should_receive_all_presence: ["@presence_gobbler:example.com"]}`,
	} {
		if !strings.Contains(string(example), want) {
			t.Errorf("example.yaml lacks %s", want)
		}
	}
}
