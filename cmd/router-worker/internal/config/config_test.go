package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/modules"
)

var update = flag.Bool("update", false, "write the expected errors")

func TestGoodFiles(t *testing.T) {
	for _, file := range files(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := config.Load(file, nil)
			if err != nil {
				t.Fatalf("Load(%s): %v", file, err)
			}
			if err := c.Validate(); err != nil {
				t.Errorf("Validate of a loaded config: %v", err)
			}
			hidesSecrets(t, c)
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, file := range files(t, "testdata/bad/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = config.Parse("config.yaml", data, nil)
			if err == nil {
				t.Fatalf("Parse(%s): no error", file)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Parse(%s) shows a password:\n%v", file, err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// TestSlips holds what people get who slip: files with one or more of the mistakes that
// operators make, and a few that only look like mistakes.
func TestSlips(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, "testdata/slips/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := "valid"
			if _, err := config.Parse("config.yaml", data, nil); err != nil {
				got = err.Error()
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", got+"\n")
		})
	}
}

func TestFullFileSetsEveryValue(t *testing.T) {
	c, err := config.Load("testdata/good/full.yaml", nil)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	unchanged(t, "", reflect.ValueOf(c), reflect.ValueOf(config.Default()))
	if url := c.NATS.URL.Reveal(); url != "nats://worker:hunter2@n1.example.com:4222, tls://n2.example.com" {
		t.Errorf("Reveal() = %s, want the URLs as configured", url)
	}
	got := fmt.Sprint(c.ServerNames, c.NATS, c.HTTP, c.Log, c.Telemetry, c.Streams.Updates, c.Worker.CheckpointInterval, len(c.Modules))
	want := "[example.com [2001:db8::1]:8448] " +
		"{nats://***@n1.example.com:4222, tls://n2.example.com /etc/presence/worker.creds _INBOX.presence {/etc/presence/queries.creds} " +
		"{/etc/presence/ca.pem /etc/presence/cert.pem /etc/presence/key.pem} 1m0s} " +
		"{:9090 true} {debug json} {https://***@otel.example.com:4318} {12h0m0s 4294967296 32768} 500ms 3"
	if got != want {
		t.Errorf("Load = %s, want %s", got, want)
	}
}

// unchanged reports the values of a struct that are the same in both.
func unchanged(t *testing.T, path string, a, b reflect.Value) {
	t.Helper()
	for i := range a.NumField() {
		field := path + "." + a.Type().Field(i).Name
		switch {
		case a.Field(i).Kind() == reflect.Struct:
			unchanged(t, field, a.Field(i), b.Field(i))
		case reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			t.Errorf("the full file leaves Config%s at its default %v, want it set to something else", field, a.Field(i))
		}
	}
}

func TestDefaultLacksOnlyServerNames(t *testing.T) {
	err := config.Default().Validate()
	want := "server_names is missing: want the server names whose users are local, such as [example.com]"
	if err == nil || err.Error() != want {
		t.Errorf("Default().Validate() = %v, want %s", err, want)
	}
}

func TestLoadOfMissingFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "nothing.yaml"), nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a missing file: %v, want fs.ErrNotExist", err)
	}
}

func TestLoadLimitsFaults(t *testing.T) {
	names := strings.Repeat("- a b\n", 500)
	_, err := config.Parse("config.yaml", []byte("server_names:\n"+names), nil)
	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != 101 || last != "config.yaml: has 400 more faults" {
		t.Errorf("Parse gives %d lines, the last %q, want 101 and how many more", len(lines), last)
	}
}

func TestHash(t *testing.T) {
	const base = "server_names: [a.org, b.org]\nmodules: [{module: static, config: {routes: [{recipients: ['@a:a.org'], users: ['@b:b.org']}]}}]\n"
	same := map[string]string{
		"order of server names": strings.Replace(base, "a.org, b.org", "b.org, a.org", 1),
		"spelling of a config":  strings.Replace(base, "recipients: ['@a:a.org'], users: ['@b:b.org']", `users: ["@b:b.org"], recipients: ["@a:a.org"]`, 1),
		"worker and log":        base + "worker: {id: w2, batch: 17}\nlog: {level: debug}\n",
		"defaults written out":  strings.Replace(base, "module: static,", "module: static, name: static, on_error: skip, timeout: 5s,", 1),
		"alias":                 strings.Replace(base, "['@a:a.org'], users: ['@b:b.org']", "&r ['@a:a.org'], users: ['@b:b.org']", 1),
	}
	different := map[string]string{
		"server names": strings.Replace(base, "a.org, b.org", "a.org", 1),
		"a user":       strings.Replace(base, "'@b:b.org'", "'@c:b.org'", 1),
		"sides":        strings.NewReplacer("recipients", "users", "users", "recipients").Replace(base),
		"policy":       strings.Replace(base, "module: static,", "module: static, on_error: retry,", 1),
		"timeout":      base + "worker: {router_timeout: 1s}\n",
		"shards":       base + "streams: {deliveries: {shards: 8}}\n",
		"no modules":   "server_names: [a.org, b.org]\n",
	}
	want := hashOf(t, base)
	for name, text := range same {
		if got := hashOf(t, text); got != want {
			t.Errorf("%s: hash is %s, want %s", name, got, want)
		}
	}
	for name, text := range different {
		if got := hashOf(t, text); got == want {
			t.Errorf("%s: hash is %s, want another", name, got)
		}
	}
	if len(want) != 12 {
		t.Errorf("hash is %q, want 12 digits", want)
	}
}

func TestURLHidesUsers(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{"no user", "nats://n1:4222,n2", "nats://n1:4222,n2"},
		{"user and password", "nats://joe:hunter2@n1", "nats://***@n1"},
		{"several", "nats://joe:hunter2@n1, tls://tok@n2", "nats://***@n1, tls://***@n2"},
		{"comma, slash and @ in the password", "nats://joe:hun,ter/2@x@n1", "nats://***@n1"},
		{"no scheme", "joe:hunter2@n1", "***@n1"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := config.URL(tt.url).String(); got != tt.want {
				t.Errorf("URL(%q).String() = %q, want %q", tt.url, got, tt.want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[config.Level]slog.Level{
		config.Debug: slog.LevelDebug, config.Info: slog.LevelInfo, config.Warn: slog.LevelWarn, config.Error: slog.LevelError,
	} {
		if got := level.Slog(); got != want {
			t.Errorf("%s.Slog() = %v, want %v", level, got, want)
		}
	}
}

// hidesSecrets formats c in the ways a log or an error might.
func hidesSecrets(t *testing.T, c config.Config) {
	t.Helper()
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("config", "nats", c.NATS, "url", c.NATS.URL)
	c.Modules = []modules.Entry{}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), logged.String(), string(encoded)} {
		if strings.Contains(shown, "hunter2") {
			t.Errorf("config shows a password: %s", shown)
		}
	}
}

func hashOf(t *testing.T, text string) string {
	t.Helper()
	c, err := config.Parse("config.yaml", []byte(text), nil)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return config.Hash(c)
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("Glob(%s) = %v, %v, want files", pattern, found, err)
	}
	return found
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("errors are\n%s\n%s has\n%s", got, file, want)
	}
}
