package modules_test

import (
	"errors"
	"iter"
	"testing"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing/presence"
)

// A route of which nobody is local delivers nothing; one with a local user on either
// side does.
func TestUndeliverable(t *testing.T) {
	t.Parallel()
	config := `
routes:
  - {recipients: ["@alice:example.com"], users: ["@bob:elsewhere.org"]}
  - {recipients: ["@bob:elsewhere.org"], users: ["@alice:example.com"]}
  - {recipients: ["@bob:elsewhere.org"], users: ["@eve:island.org"]}
  - {recipients: ["@bob:elsewhere.org", "@alice:example.com"], users: ["@eve:island.org"]}
`
	isLocal := func(user presence.UserID) bool { return user.Server().String() == "example.com" }
	entries := []modules.Entry{
		{Module: "broadcast", Config: node(t, `users_who_should_receive_all_presence: ["@bob:elsewhere.org"]`)},
		{Module: "static", Config: node(t, config)},
		{Module: "static", Config: node(t, "routes: 3")},
		{Module: "none"},
	}
	if err := modules.Check(entries); err == nil {
		t.Error("Check: no error, want those of the last two entries")
	}
	compareLines(t, "Undeliverable", joined(modules.Undeliverable(entries, isLocal)), []string{
		"modules[1].config.routes[2]: nobody in it is of server_names, so nothing of it is ever delivered",
	})
	compareLines(t, "Undeliverable", joined(modules.Undeliverable(entries[:1], isLocal)), nil)
	modules.Undeliverable(entries, isLocal)(func(*fault.Field) bool { return false }) // Whoever has seen enough may stop.
}

func joined(fields iter.Seq[*fault.Field]) error {
	var errs []error
	for field := range fields {
		errs = append(errs, field)
	}
	return errors.Join(errs...)
}
