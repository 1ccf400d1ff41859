package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

func TestWarnings(t *testing.T) {
	t.Parallel()
	const modules = `
modules:
  - module: static
    config:
      routes:
        - {recipients: ["@alice:example.com"], users: ["@bob:example.com"]}
        - {recipients: ["@alice:example.com"], users: ["@eve:somewhere.org"]}
  - {module: broadcast, config: {users_who_should_receive_all_presence: ["@alice:example.com"]}}
`
	const never = "modules[0].config.routes[%d]: nobody in it is of server_names, so nothing of it is ever delivered"
	tests := []struct {
		name, servers string
		want          []string
	}{
		{"right", "[example.com]", nil},
		{"users of one of two", "[example.com, other.net]", nil},
		{"misspelt", "[exmaple.com]", []string{
			"modules name users of example.com, who are not local: did you mean exmaple.com, of server_names?",
			fmt.Sprintf(never, 0), fmt.Sprintf(never, 1),
		}},
		{"other letter case", "[Example.com]", []string{
			"modules name users of example.com, server_names has Example.com: names that differ by letter case are two servers",
			fmt.Sprintf(never, 0), fmt.Sprintf(never, 1),
		}},
		{"another server", "[island.net]", []string{fmt.Sprintf(never, 0), fmt.Sprintf(never, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Parse("config.yaml", []byte("server_names: "+tt.servers+modules), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Warnings(); !slices.Equal(got, tt.want) {
				t.Errorf("warnings are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestWarningsAreBounded(t *testing.T) {
	t.Parallel()
	text := "server_names: [island.net]\nmodules:\n  - module: static\n    config:\n      routes:\n" +
		strings.Repeat("        - {recipients: [\"@alice:example.com\"], users: [\"@bob:example.com\"]}\n", 100)
	c, err := config.Parse("config.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warnings(); len(got) != 21 || got[20] != "and 80 more" {
		t.Errorf("there are %d warnings, the last %q, want 20 and the number of the others", len(got), got[len(got)-1])
	}
}

// Values that do not fit each other are reported with all other faults, and keys of
// other servers without reading a file.
func TestFaultsOfSeveralValuesComeWithTheOthers(t *testing.T) {
	t.Parallel()
	const text = `
server_names: [example.com]
streams: {replicas: 2, deliveries: {max_delivery_bytes: 1KiB}, updates: {max_age: 1m}}
worker: {batch: 0, retry_limit: 1h}
federate: {keys: [{server_name: other.com, key_file: other.key}]}
`
	_, err := config.Parse("config.yaml", []byte(text), nil)
	for _, want := range []string{
		"streams.replicas is 2: want 1, 3 or 5",
		"worker.batch is 0: want 1 to 4096",
		"streams.deliveries.max_delivery_bytes is 1024: want at least 67584",
		"worker.retry_limit is 1h0m0s: want less than 1m0s",
		`federate.keys[0].server_name is "other.com": want one of [example.com], the server_names`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse = %v, want %s", err, want)
		}
	}
	// A value that is out of bounds itself has one fault.
	_, err = config.Parse("config.yaml", []byte("server_names: [a.org]\nstreams: {updates: {max_age: 1s}}"), nil)
	if err == nil || strings.Contains(err.Error(), "retry_limit") || !strings.Contains(err.Error(), "streams.updates.max_age is 1s") {
		t.Errorf("Parse = %v, want one fault of streams.updates.max_age", err)
	}
}
