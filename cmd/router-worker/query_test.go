package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
)

const asked = `[{module: static, config: {routes: [
  {recipients: ["@alice:example.com", "@eva:somewhere.org"], users: ["@bob:example.com", "@carol:example.com"]}]}},
  {module: broadcast, config: {users_who_should_receive_all_presence: ["@gobbler:example.com"]}}]`

func TestQuery(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, asked)
	bob := `{"user_id":"@bob:example.com", "state":"online","status_msg":"\u001b[31m lunch"}`
	carol := `{"user_id":"@carol:example.com","state":"offline"}`
	expect(t, 0, bob+"\n"+carol+"\n", env, "publish")
	eventually(t, func() error {
		got := expect(t, 0, "", env, "query", "current-states", "@bob:example.com", "@carol:example.com", "--json").stdout.String()
		if strings.Count(got, "\n") != 2 {
			return fmt.Errorf("current-states says %q, want two states", got)
		}
		return nil
	})
	tests := []struct {
		name  string
		args  string
		stdin string
		want  string
	}{
		{"interested users", "interested-users @alice:example.com", "", "@bob:example.com\n@carol:example.com\n"},
		{"interested users, some", "interested-users @alice:example.com --limit 1", "", "@bob:example.com\n"},
		{"interested users as JSON", "interested-users @alice:example.com --json", "", "{\"user_id\":\"@bob:example.com\"}\n{\"user_id\":\"@carol:example.com\"}\n"},
		{"all interested users", "interested-users @gobbler:example.com", "", "all users\n"},
		{"all interested users as JSON", "interested-users @gobbler:example.com --json", "", "{\"all_users\":true}\n"},
		{"no interested users", "interested-users @nobody:example.com", "", "no users\n"},
		{"users for states", "users-for-states", bob, `RECIPIENT             USER              STATE   STATUS
@alice:example.com    @bob:example.com  online  \x1b[31m lunch
@eva:somewhere.org    @bob:example.com  online  \x1b[31m lunch
@gobbler:example.com  @bob:example.com  online  \x1b[31m lunch
`},
		{"users for states as JSON", "users-for-states - --json", carol, `{"user_id":"@alice:example.com","states":[` + carol + `]}
{"user_id":"@eva:somewhere.org","states":[` + carol + `]}
{"user_id":"@gobbler:example.com","states":[` + carol + `]}
`},
		{"current states", "current-states @bob:example.com @nobody:example.com", "", `USER              STATE   UPDATE  STATUS
@bob:example.com  online  #1      \x1b[31m lunch
`},
		{"no current states", "current-states @nobody:example.com", "", "no states\n"},
		{"current states that one may see", "current-states --for @nobody:example.com @bob:example.com", "", "no states\n"},
		{"send online presence", "send-online-presence @alice:example.com @nobody:example.com", "", `RECIPIENT            STATES
@alice:example.com   1
@nobody:example.com  0
`},
		{"send online presence as JSON", "send-online-presence @eva:somewhere.org --json", "", "{\"states\":1,\"user_id\":\"@eva:somewhere.org\"}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := expect(t, 0, tt.stdin, env, append([]string{"query"}, strings.Fields(tt.args)...)...)
			if got := p.stdout.String(); got != tt.want {
				t.Errorf("query %s says\n%s\nwant\n%s", tt.args, got, tt.want)
			}
		})
	}
	refused := expect(t, 1, "", env, "query", "current-states", "@bob:example.com", "--for", "@eva:somewhere.org").stderr.String()
	if !strings.Contains(refused, "the workers refuse the query: ask current_states: 403: for is ") {
		t.Errorf("query for a user of another server says %q, want what is wrong", refused)
	}
	malformed := expect(t, 1, bob+"\n{}", env, "query", "users-for-states").stderr.String()
	if !strings.Contains(malformed, "line 2: invalid_user_id") {
		t.Errorf("query of what is no state says %q, want the line", malformed)
	}
}

func TestQueryWithoutWorkerSaysSo(t *testing.T) {
	t.Parallel()
	p := expect(t, 1, "", withStreams(t), "query", "interested-users", "@alice:example.com")
	if got := p.stderr.String(); !strings.Contains(got, "router-worker run") {
		t.Errorf("query says %q, want what to do", got)
	}
}

func TestQueryOfAFileThatIsNone(t *testing.T) {
	t.Parallel()
	got := expect(t, 1, "", withStreams(t), "query", "users-for-states", "/nonexistent").stderr.String()
	if want := "router-worker: read updates: open /nonexistent: no such file or directory\n"; got != want {
		t.Errorf("query says %q, want %q", got, want)
	}
}

// A worker that is paused holds a query for as long as it is paused.
func TestQueryThatAWorkerHoldsSaysSo(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	nc := natstest.Connect(t, urlOf(env))
	asked := make(chan *nats.Msg, 10)
	if _, err := nc.ChanSubscribe("presence.router.*", asked); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p := expect(t, 1, "", append(env, "ROUTER_WORKER_WORKER_QUERIES_TIMEOUT=50ms"), "query", "interested-users", "@alice:example.com")
	if got := p.stderr.String(); !strings.Contains(got, "the workers do not answer") || strings.Contains(got, "cannot reach NATS") || len(asked) != 5 {
		t.Errorf("query says %q after %d attempts, want that the workers do not answer after 5", got, len(asked))
	}
}
