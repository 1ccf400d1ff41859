package modules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing"
)

func TestBuild(t *testing.T) {
	entries := []modules.Entry{
		{Module: "static", Name: "team", OnError: routing.Retry, Timeout: time.Second, Config: node(t, `routes: [{recipients: ["@a:e.org"], users: ["@b:e.org"]}]`)},
		{Module: "broadcast", Config: node(t, `users_who_should_receive_all_presence: ["@a:e.org"]`)},
	}
	got, err := modules.Build(entries, 5*time.Second, modules.API{})
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	want := "team *static.Router 1s retry, broadcast *broadcast.Router 5s skip"
	var parts []string
	for _, r := range got {
		parts = append(parts, fmt.Sprintf("%s %T %v %s", r.Name, r.Router, r.Timeout, r.OnError))
	}
	if s := strings.Join(parts, ", "); s != want {
		t.Errorf("Build = %s, want %s", s, want)
	}
}

func TestBuildReportsAllFaults(t *testing.T) {
	empty := node(t, "routes: []")
	tests := []struct {
		name    string
		entries []modules.Entry
		want    []string
	}{
		{"no entries", nil, nil},
		{"no module", []modules.Entry{{}}, []string{"modules[0].module is missing: want one of broadcast, static"}},
		{"unknown module", []modules.Entry{{Module: "statik"}, {Module: "prometheus"}}, []string{
			`modules[0].module is "statik": want one of broadcast, static; did you mean static?`,
			`modules[1].module is "prometheus": want one of broadcast, static`,
		}},
		{"bad name, policy and timeouts", []modules.Entry{
			{Module: "static", Name: "a b", OnError: "ignore", Timeout: time.Microsecond, Config: empty},
			{Module: "static", Timeout: time.Hour, OnError: routing.DeadLetter, Config: empty},
		}, []string{
			`modules[0].name is "a b": want at most 64 of A-Z, a-z, 0-9, _, . and -`,
			`modules[0].on_error is "ignore": want skip, retry or dead_letter`,
			"modules[0].timeout is 1µs: want 1ms to 10m0s",
			"modules[1].timeout is 1h0m0s: want 1ms to 10m0s",
		}},
		{"same name", []modules.Entry{{Module: "static", Config: empty}, {Module: "static", Name: "b", Config: empty}, {Module: "static", Config: empty}}, []string{
			`modules[2].name is "static": want a name of its own: modules[0] has this one`,
		}},
		{"configs", []modules.Entry{
			{Module: "static", Config: node(t, "routes:\n  - recipient: [\"@a:e.org\"]\n    users: [b]")},
			{Module: "broadcast"},
		}, []string{
			"2:5: modules[0].config.routes[0].recipient is not a known key: did you mean recipients?",
			"2:5: modules[0].config.routes[0].recipients is missing: want at least one user ID",
			`3:13: modules[0].config.routes[0].users[0]: invalid user ID "b": does not start with @`,
			"modules[1].config.users_who_should_receive_all_presence is missing: want at least one user ID",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			registrations, err := modules.Build(tt.entries, time.Second, modules.API{})
			compareLines(t, "Build", err, tt.want)
			compareLines(t, "Check", modules.Check(tt.entries), tt.want)
			if err != nil && registrations != nil {
				t.Errorf("Build = %v beside an error, want nil", registrations)
			}
		})
	}
}

func TestBuildBoundsTheNumberOfEntries(t *testing.T) {
	var entries []modules.Entry
	for i := range routing.MaxRegistrations + 1 {
		entries = append(entries, modules.Entry{Module: "static", Name: fmt.Sprint("r", i), Config: node(t, "routes: []")})
	}
	compareLines(t, "Check", modules.Check(entries), []string{"modules: 65 entries, at most 64 are allowed"})
	compareLines(t, "Check", modules.Check(entries[1:]), nil)
}

func TestBuiltRegistrationsSuitTheDispatcher(t *testing.T) {
	registrations, err := modules.Build([]modules.Entry{{Module: "static", Config: node(t, "routes: []")}}, time.Second, modules.API{})
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	if _, err := routing.NewDispatcher(registrations); err != nil {
		t.Errorf("NewDispatcher: %v", err)
	}
}

func node(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var document yaml.Node
	if err := yaml.Load([]byte(text), &document); err != nil {
		t.Fatalf("Load(%q): %v", text, err)
	}
	return document.Content[0]
}

func compareLines(t *testing.T, call string, err error, want []string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != strings.Join(want, "\n") {
		t.Errorf("%s error is\n%s\nwant\n%s", call, got, strings.Join(want, "\n"))
	}
}
