package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

func TestEnvironmentIsEnough(t *testing.T) {
	c, err := config.Load("", []string{
		"HOME=/root",
		"ROUTER_WORKER_SERVER_NAMES=a.org, b.org:8448",
		"ROUTER_WORKER_NATS_URL=nats://n1:4222",
		"ROUTER_WORKER_STREAMS_REPLICAS=3",
		"ROUTER_WORKER_STREAMS_SUBJECT_PREFIX=null",
		"ROUTER_WORKER_STREAMS_UPDATES_MAX_AGE=2h",
		"ROUTER_WORKER_STREAMS_UPDATES_MAX_BYTES=2GiB",
		"ROUTER_WORKER_WORKER_COALESCE=true",
		"ROUTER_WORKER_WORKER_ID=007",
		"ROUTER_WORKER_NATS_CREDENTIALS=",
		"ROUTER_WORKER_MODULES=[{module: broadcast, config: {users_who_should_receive_all_presence: ['@a:a.org']}}]",
	})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	got := fmt.Sprint(c.ServerNames, c.NATS.URL, c.Streams.Replicas, c.Streams.Prefix, c.Streams.Updates, c.Worker.Coalesce, c.Worker.ID, c.Modules[0].Module)
	want := "[a.org b.org:8448]nats://n1:4222 3 null {2h0m0s 2147483648 65536} true 007 broadcast"
	if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("Load = %s, want %s", got, want)
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	file := []byte("server_names: [a.org]\nstreams: {replicas: 5, partitions: 8}\nmodules: [{module: static, config: {routes: []}}]\n")
	c, err := config.Parse("config.yaml", file, []string{
		"ROUTER_WORKER_SERVER_NAMES=[b.org, '[::1]:8448']",
		"ROUTER_WORKER_STREAMS_REPLICAS=1",
		"ROUTER_WORKER_STREAMS_REPLICAS=3",
		"ROUTER_WORKER_MODULES=[]",
	})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	got := fmt.Sprint(c.ServerNames, c.Streams.Replicas, c.Streams.Partitions, len(c.Modules))
	if want := "[b.org [::1]:8448] 3 8 0"; got != want {
		t.Errorf("Parse = %s, want %s", got, want)
	}
}

func TestEnvironmentFaults(t *testing.T) {
	const minimal = "server_names: [a.org]\n"
	tests := []struct {
		name    string
		file    string
		environ []string
		want    []string
	}{
		{"wrong type and bounds", minimal, []string{
			"ROUTER_WORKER_STREAMS_REPLICAS=2", "ROUTER_WORKER_WORKER_BATCH=many", "ROUTER_WORKER_WORKER_ROUTER_TIMEOUT=5", "ROUTER_WORKER_WORKER_COALESCE=",
		}, []string{
			"ROUTER_WORKER_WORKER_BATCH: worker.batch is \"many\": want a whole number",
			"ROUTER_WORKER_WORKER_COALESCE: worker.coalesce is \"\": want true or false",
			"ROUTER_WORKER_WORKER_ROUTER_TIMEOUT: worker.router_timeout is \"5\": want a duration with its unit, such as 500ms, 5s, 15m or 24h",
			"ROUTER_WORKER_STREAMS_REPLICAS: streams.replicas is 2: want 1, 3 or 5",
		}},
		{"unknown", minimal, []string{"ROUTER_WORKER_STREAM_REPLICAS=3", "ROUTER_WORKER_CONIFG=x", "ROUTER_WORKER_STREAMS={}", "ROUTER_WORKER_HTTP_PORT=8080"}, []string{
			"ROUTER_WORKER_CONIFG: is not a known variable: did you mean ROUTER_WORKER_CONFIG?",
			"ROUTER_WORKER_HTTP_PORT: is not a known variable: did you mean ROUTER_WORKER_HTTP_PPROF?",
			"ROUTER_WORKER_STREAMS: is not a known variable: a variable sets one value, such as ROUTER_WORKER_STREAMS_SUBJECT_PREFIX",
			"ROUTER_WORKER_STREAM_REPLICAS: is not a known variable: did you mean ROUTER_WORKER_STREAMS_REPLICAS?",
		}},
		{"file and environment together", "streams: {replicas: 2}\n", []string{"ROUTER_WORKER_LOG_LEVEL=loud", "ROUTER_WORKER_X=1"}, []string{
			"config.yaml:1:1: server_names is missing: want the server names whose users are local, such as [example.com]",
			"config.yaml:1:21: streams.replicas is 2: want 1, 3 or 5",
			"ROUTER_WORKER_LOG_LEVEL: log.level is \"loud\": want debug, info, warn or error",
			"ROUTER_WORKER_X: is not a known variable: it is ROUTER_WORKER_ and the path of a value with _ for dots, such as ROUTER_WORKER_STREAMS_REPLICAS",
		}},
		{"YAML in a variable", minimal, []string{"ROUTER_WORKER_MODULES=[{module: static, config: {routes: [{}]}}, {module: x}]"}, []string{
			"ROUTER_WORKER_MODULES:1:37: modules[0].config.routes[0].recipients is missing: want at least one user ID",
			"ROUTER_WORKER_MODULES:1:37: modules[0].config.routes[0].users is missing: want at least one user ID",
			"ROUTER_WORKER_MODULES:1:53: modules[1].module is \"x\": want one of broadcast, static",
		}},
		{"no YAML in a variable", minimal, []string{"ROUTER_WORKER_MODULES=[{", "ROUTER_WORKER_SERVER_NAMES=[a.org"}, []string{
			"ROUTER_WORKER_MODULES:2:1: modules: is not YAML: did not find expected node content",
			"ROUTER_WORKER_SERVER_NAMES: server_names[0]: invalid server name \"[a.org\": the IPv6 address has no closing bracket",
		}},
		{"nothing at all", "", nil, []string{
			"environment: server_names is missing: want the server names whose users are local, such as [example.com]",
		}},
		{"password", minimal, []string{"ROUTER_WORKER_NATS_URL=nats://joe:hunter2@"}, []string{
			"ROUTER_WORKER_NATS_URL: nats.url is \"nats://***@\": want nats://host:port (or tls, ws, wss), more of them after commas",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if tt.file == "" {
				_, err = config.Load("", tt.environ)
			} else {
				_, err = config.Parse("config.yaml", []byte(tt.file), tt.environ)
			}
			if want := strings.Join(tt.want, "\n"); err == nil || err.Error() != want {
				t.Errorf("errors are\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestKubernetesServiceLinksAreNoFault(t *testing.T) {
	_, err := config.Load("", []string{
		"ROUTER_WORKER_SERVER_NAMES=a.org",
		"ROUTER_WORKER_SERVICE_HOST=10.0.0.11",
		"ROUTER_WORKER_SERVICE_PORT=8080",
		"ROUTER_WORKER_SERVICE_PORT_METRICS=8080",
		"ROUTER_WORKER_PORT=tcp://10.0.0.11:8080",
		"ROUTER_WORKER_PORT_8080_TCP=tcp://10.0.0.11:8080",
		"ROUTER_WORKER_PORT_8080_TCP_PROTO=tcp",
		"ROUTER_WORKER_PORT_8080_TCP_PORT=8080",
		"ROUTER_WORKER_PORT_8080_TCP_ADDR=10.0.0.11",
		"ROUTER_WORKER_METRICS_SERVICE_HOST=10.0.0.12",
		"ROUTER_WORKER_METRICS_PORT=tcp://10.0.0.12:8080",
	})
	if err != nil {
		t.Errorf("Load with the variables of Services: %v", err)
	}
}

func TestVariableNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(file, []byte("server_names: [a.org]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("", []string{config.FileVariable + "=" + file})
	if err != nil || fmt.Sprint(c.ServerNames) != "[a.org]" {
		t.Errorf("Load = %v, %v, want the file that %s names", c.ServerNames, err, config.FileVariable)
	}
}

func TestVariablesAreUniqueAndKnown(t *testing.T) {
	names := config.Variables()
	for _, want := range []string{"ROUTER_WORKER_SERVER_NAMES", "ROUTER_WORKER_STREAMS_UPDATES_MAX_AGE", "ROUTER_WORKER_TELEMETRY_OTLP_ENDPOINT", "ROUTER_WORKER_MODULES"} {
		if !slices.Contains(names, want) {
			t.Errorf("Variables() = %v, want %s among them", names, want)
		}
	}
	sorted := slices.Sorted(slices.Values(names))
	if unique := slices.Compact(slices.Clone(sorted)); len(unique) != len(names) || slices.Contains(names, config.FileVariable) {
		t.Errorf("Variables() = %v, want each once and not %s", names, config.FileVariable)
	}
}
