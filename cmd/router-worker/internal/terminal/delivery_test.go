package terminal_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestDeliveryLine(t *testing.T) {
	t.Parallel()
	committed := time.Date(2026, 11, 23, 12, 34, 56, 789e6, time.Local)
	state := presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online, StatusMsg: presence.Status("a\nb")}
	tests := []struct {
		name  string
		state presence.UserState
		want  string
	}{
		{"from an update", state.FromUpdate([]byte(`{}`), 17), `@bob:example.com         online       #17      a\nb`},
		{"made up", state, `@bob:example.com         online       made up  a\nb`},
		{"without status", presence.UserState{UserID: state.UserID, State: "org.example.\x1b"}, `@bob:example.com         org.example.\x1b made up`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := "12:34:56.789  @al\\x1bice:example.com         " + tt.want
			if got := terminal.DeliveryLine(committed, presence.MustUserID("@al\x1bice:example.com"), tt.state); got != want {
				t.Errorf("DeliveryLine = %q, want %q", got, want)
			}
		})
	}
	heading, line := terminal.DeliveryHeading(), terminal.DeliveryLine(committed, state.UserID, state)
	if strings.Index(heading, "STATUS") != strings.Index(line, `a\nb`) {
		t.Errorf("columns of %q and %q are not aligned", heading, line)
	}
}

func TestProgressIsForTerminalsOnly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := terminal.NewProgress(&out, 100)
	p.Show(50, 5)
	p.Clear()
	if out.Len() > 0 {
		t.Errorf("the bar writes %q to what is no terminal", out.String())
	}
}
