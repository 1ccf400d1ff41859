package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/modules"
)

func TestFaultsOfAFileOfRoutes(t *testing.T) {
	t.Parallel()
	file := routesFile(t, "{\"recipients\": [\"@a:a.org\"], \"users\": [\"bob\"]}\n{}\n")
	missing := filepath.Join(t.TempDir(), "missing.ndjson")
	const text = `
server_names: [a.org]
streams: {replicas: 2}
modules:
  - module: static
    name: one
    config:
      routes_file: %s
  - {module: static, name: two, config: {routes_file: %s}}
  - {module: static, name: three, config: {routes_fil: %[1]s}}
  - {module: static, name: four, config: {routes_file: 7, routes: []}}
`
	_, err := config.Parse("config.yaml", fmt.Appendf(nil, text, file, missing), nil)
	want := strings.Join([]string{
		"config.yaml:3:21: streams.replicas is 2: want 1, 3 or 5",
		"config.yaml:9:55: modules[1].config.routes_file: open " + missing + ": no such file or directory",
		"config.yaml:10:43: modules[2].config.routes is missing: want a list of routes, [] for none, or routes_file",
		"config.yaml:10:44: modules[2].config.routes_fil is not a known key: did you mean routes_file?",
		"config.yaml:11:56: modules[3].config.routes_file is 7: want text: put it in quotes",
		file + `:1:40: users[0]: invalid user ID "bob": does not start with @`,
		file + ":2:1: recipients is missing: want at least one user ID",
		file + ":2:1: users is missing: want at least one user ID",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("errors are\n%v\nwant\n%s", err, want)
	}
}

func TestHashCoversAFileOfRoutes(t *testing.T) {
	t.Parallel()
	const line = `{"recipients":["@a:a.org"],"users":["@b:a.org"]}` + "\n"
	const base = "server_names: [a.org]\nmodules: [{module: static, config: {routes: [], routes_file: %s}}]\n"
	of := func(content string) string { return hashOf(t, fmt.Sprintf(base, routesFile(t, content))) }
	want := of(line)
	if got := of(line); got != want {
		t.Errorf("the same content in another file: hash is %s, want %s", got, want)
	}
	const anchored = "server_names: [a.org]\nmodules: [{module: static, config: &c {routes: [], routes_file: %s}}, {module: static, name: b, config: *c}]\n"
	aliased := func(content string) string { return hashOf(t, fmt.Sprintf(anchored, routesFile(t, content))) }
	if first, second := aliased(line), aliased(line); first != second {
		t.Error("the same content in another file, behind an alias: the hashes differ, want the same")
	}
	different := map[string]string{
		"another user": of(strings.Replace(line, "@b", "@c", 1)),
		"two routes":   of(line + line),
		"no routes":    of(""),
		"no file":      hashOf(t, strings.Replace(base, ", routes_file: %s", "", 1)),
	}
	for name, got := range different {
		if got == want {
			t.Errorf("%s: hash is %s, want another", name, got)
		}
	}
}

// What check decodes and reads, a worker does not decode and read again.
func TestConfigsAreDecodedOnce(t *testing.T) {
	t.Parallel()
	file := routesFile(t, `{"recipients":["@a:a.org"],"users":["@b:b.org"]}`)
	c, err := config.Parse("config.yaml", fmt.Appendf(nil, "server_names: [c.org]\nmodules: [{module: static, config: {routes_file: %s}}]\n", file), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	hash := config.Hash(c)
	for i := range c.Modules {
		c.Modules[i].Config = nil
	}
	want := "modules[0].config.routes_file: nobody in line 1 is of server_names, so nothing of it is ever delivered"
	if warnings := c.Warnings(); !strings.Contains(strings.Join(warnings, "\n"), want) {
		t.Errorf("Warnings = %q, want %q among them", warnings, want)
	}
	registrations, err := modules.Build(c.Modules, c.Worker.RouterTimeout, modules.API{})
	if err != nil || len(registrations) != 1 || len(hash) != 12 {
		t.Errorf("Build = %v, %v, want one registration though the file is gone", registrations, err)
	}
}

// BenchmarkLoad loads a configuration with 100,000 routes, the hash and the warnings
// included.
func BenchmarkLoad(b *testing.B) {
	const routes = 100_000
	route := func(i int) string {
		return fmt.Sprintf(`{"recipients":["@r%d:e.org"],"users":["@u%d:e.org"]}`, i*7919%routes, i)
	}
	var yaml, json, lines strings.Builder
	yaml.WriteString("server_names: [e.org]\nmodules:\n  - module: static\n    config:\n      routes:\n")
	json.WriteString(`{"server_names":["e.org"],"modules":[{"module":"static","config":{"routes":[`)
	for i := range routes {
		fmt.Fprintf(&yaml, "        - %s\n", route(i))
		fmt.Fprintf(&json, "%s%s", strings.Repeat(",\n", min(i, 1)), route(i))
		fmt.Fprintln(&lines, route(i))
	}
	json.WriteString("]}}]}")
	file := "server_names: [e.org]\nmodules: [{module: static, config: {routes_file: " + routesFile(b, lines.String()) + "}}]\n"
	for _, form := range []struct{ name, text string }{{"YAML", yaml.String()}, {"JSON", json.String()}, {"file", file}} {
		b.Run(fmt.Sprintf("form=%s/routes=%d", form.name, routes), func(b *testing.B) {
			data := []byte(form.text)
			b.ReportAllocs()
			for b.Loop() {
				c, err := config.Parse("config.yaml", data, nil)
				if err != nil {
					b.Fatal(err)
				}
				if config.Hash(c); len(c.Warnings()) > 0 {
					b.Fatal(c.Warnings())
				}
			}
		})
	}
}

func routesFile(tb testing.TB, text string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "routes.ndjson")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}
