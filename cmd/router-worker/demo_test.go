package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v4"
)

const captureFile = "internal/capture/presence-capture.ndjson"

// expectedStates computes from the capture and the example how many states each
// recipient is to get.
func expectedStates(t *testing.T) (updates int, states map[string]int) {
	t.Helper()
	data, err := os.ReadFile("internal/demo/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var example struct {
		ServerNames []string `yaml:"server_names"`
		Modules     []struct {
			Config struct {
				Routes []struct{ Recipients, Users []string }
				All    []string `yaml:"users_who_should_receive_all_presence"`
			}
		}
	}
	if err := yaml.Unmarshal(data, &example); err != nil {
		t.Fatal(err)
	}
	isLocal := func(user string) bool { return strings.HasSuffix(user, ":"+example.ServerNames[0]) }
	recipients := make(map[string]map[string]bool) // by user; "" is every user
	add := func(user, recipient string) {
		if recipients[user] == nil {
			recipients[user] = make(map[string]bool)
		}
		recipients[user][recipient] = true
	}
	for _, module := range example.Modules {
		for _, recipient := range module.Config.All {
			add("", recipient)
		}
		for _, route := range module.Config.Routes {
			for _, user := range route.Users {
				for _, recipient := range route.Recipients {
					add(user, recipient)
				}
			}
		}
	}
	states = make(map[string]int)
	for _, user := range capturedUsers(t) {
		updates++
		all := maps.Clone(recipients[""])
		maps.Copy(all, recipients[user])
		for recipient := range all {
			if isLocal(user) || isLocal(recipient) {
				states[recipient]++
			}
		}
	}
	return updates, states
}

func capturedUsers(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(captureFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // It was only read.
	var users []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var update struct {
			UserID string `json:"user_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &update); err != nil {
			t.Fatal(err)
		}
		users = append(users, update.UserID)
	}
	return users
}

var (
	deliveryLine = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}  (@\S+) .*?(?:\(and (\d+) before it\))?$`)
	summaryLine  = regexp.MustCompile(`(?s)updates in +(\d+)\ndeliveries out +(\d+), with (\d+) states? for (\d+) recipients?\ndead letters +(\d+)\ntime +[\d.]+ s, [\d.]+ updates/s\n`)
)

func TestDemo(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	p := expect(t, 0, "", []string{"TMPDIR=" + temp}, "demo")
	updates, want := expectedStates(t)
	if updates != 670 {
		t.Fatalf("the capture holds %d updates, want 670", updates)
	}
	got, deliveries := make(map[string]int), 0
	for _, line := range deliveryLine.FindAllStringSubmatch(p.stdout.String(), -1) {
		before, _ := strconv.Atoi(line[2])
		got[line[1]] += before + 1
		deliveries++
	}
	if !maps.Equal(got, want) {
		t.Errorf("the demo shows states %v, want %v", got, want)
	}
	total := 0
	for _, states := range want {
		total += states
	}
	summary := summaryLine.FindStringSubmatch(p.stdout.String())
	if summary == nil {
		t.Fatalf("the demo ends with %q, want a summary", p.stdout)
	}
	if got, want := fmt.Sprint(summary[1:]), fmt.Sprint([]int{updates, deliveries, total, len(want), 0}); got != want {
		t.Errorf("summary says %s, want %s", got, want)
	}
	if left, _ := filepath.Glob(temp + "/*"); len(left) > 0 {
		t.Errorf("the demo leaves %v behind", left)
	}
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr holds %q, want nothing", got)
	}
}

func TestDemoOfAnotherCapture(t *testing.T) {
	t.Parallel()
	capture := write(t, "capture.ndjson", `{"user_id":"@bob:example.com","state":"busy","status_msg":"\u001b]0;x\u0007 lunch"}`+"\n")
	p := expect(t, 0, "", nil, "demo", "--capture", capture)
	got := p.stdout.String()
	if lines := deliveryLine.FindAllString(got, -1); len(lines) != 2 || strings.Contains(got, "\x1b") {
		t.Errorf("the demo shows %q, want two lines without control characters", got)
	}
	if summary := summaryLine.FindStringSubmatch(got); summary == nil || fmt.Sprint(summary[1:]) != "[1 2 2 2 0]" {
		t.Errorf("the demo shows %q, want 1 update, 2 deliveries, 2 states, 2 recipients", got)
	}
}

func TestDemoFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{
			"a line that is no update",
			[]string{"--capture", write(t, "capture.ndjson", `{"user_id":"@bob:example.com","state":"online"}`+"\n{}\n")},
			"line 2 of the capture: invalid_user_id",
		},
		{"a capture that is missing", []string{"--capture", "/nonexistent"}, "no such file"},
		{"an address that is taken", []string{"--listen", listener(t)}, "address already in use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, 1, "", nil, append([]string{"demo"}, tt.args...)...)
			if got := p.stderr.String(); !strings.Contains(got, tt.want) || strings.Contains(p.stdout.String(), "updates in") {
				t.Errorf("demo %v says %q, want %q in it and no summary", tt.args, got, tt.want)
			}
		})
	}
}

func TestDemoKeptUntilSignal(t *testing.T) {
	t.Parallel()
	p := start(t, "", nil, "demo", "--keep")
	output := p.await(p.stdout, "router-worker deliveries --nats nats://")
	url := regexp.MustCompile(`nats://127\.0\.0\.1:\d+`).FindString(output)

	// What it invites to works, and shows what is committed rather than what is sent.
	if want := "sub --stream PRESENCE_DELIVERIES --new 'presence.deliver.>'"; !strings.Contains(output, want) {
		t.Errorf("demo --keep says %q, want %s in it", output, want)
	}
	follower := start(t, "", nil, "deliveries", "--nats", url, "--user", "@alice:example.com", "--count", "1", "--json")
	follower.await(follower.stderr, "following")
	command := regexp.MustCompile(`pub (\S+) '(.*)'`).FindStringSubmatch(output)
	publishRaw(t, jetStream(t, url), command[1], command[2], nil)
	if got := follower.code(); got != 0 || !strings.Contains(follower.stdout.String(), `"sequences":[671]`) {
		t.Errorf("deliveries ends with %d and %q, want the delivery of update 671", got, follower.stdout)
	}
	p.await(p.stdout, "#671")
	p.signal(syscall.SIGINT)
	if got := p.code(); got != 0 {
		t.Errorf("demo --keep ends with %d after SIGINT, want 0", got)
	}
}
