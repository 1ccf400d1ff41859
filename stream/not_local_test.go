package stream_test

import (
	"context"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
)

// Updates that nobody may have whom the routers chose are no success: they have an
// outcome of their own, and status says so.
func TestUpdatesThatNobodyMayHave(t *testing.T) {
	t.Parallel()
	const far, eve, mallory = "@far:island.example", "@eve:elsewhere.example", "@mallory:elsewhere.example"
	s := newSite(t)
	router := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		to := everybody([]presence.UserID{presence.MustUserID(far)}, batch)
		for _, state := range batch {
			if state.UserID == presence.MustUserID(mallory) { // A local user receives her presence as well.
				to[presence.MustUserID(alice)] = append(to[presence.MustUserID(alice)], state)
			}
		}
		return to, nil
	})
	// They are there before the worker, so that they are one batch.
	for mark, user := range []string{eve, bob, mallory, eve} {
		s.publish(t, user, mark)
	}
	last := s.publishRaw(t, s.subjects.Update(presence.MustUserID(eve)), "nonsense", nil)
	reader, metered := newMeter()
	w := s.start(t, router, metered)
	s.awaitPosition(t, last)
	warning := s.awaitWarning(t, "2 updates went to nobody: ")
	if !strings.HasSuffix(warning, "Check server_names and the modules of "+w.ID()+".") {
		t.Errorf("warning is %q, want what to check", warning)
	}
	w.stop(t) // Then everything is counted.
	m := collect(t, reader)
	for outcome, want := range map[string]int64{"not_local": 2, "routed": 2, "dead_letter": 1} {
		if got := m.values["presence_router_updates{outcome="+outcome+",partition=0}"]; got != want {
			t.Errorf("%d updates have the outcome %s, want %d", got, outcome, want)
		}
	}
}
