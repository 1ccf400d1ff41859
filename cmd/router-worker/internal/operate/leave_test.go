package operate_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// A router that does not return although its time is over is left behind at the end, and
// named.
func TestRouterThatDoesNotReturnIsLogged(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	hanging, err := routing.Callbacks{
		UsersForStates: func(context.Context, []presence.UserState) (map[presence.UserID][]presence.UserState, error) {
			<-release
			return nil, nil
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil },
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	dispatcher, err := routing.NewDispatcher([]routing.Registration{{Name: "hanging", Router: hanging, Timeout: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	dispatcher.UsersForStates(t.Context(), []presence.UserState{{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online}})
	var log bytes.Buffer
	operate.LeaveBehind(t.Context(), dispatcher, slog.New(slog.NewTextHandler(&log, nil)))
	if got := log.String(); !strings.Contains(got, `level=WARN msg="a router does not return"`) || !strings.Contains(got, "hanging") {
		t.Errorf("logged is %q, want a warning that names the router", got)
	}
}
