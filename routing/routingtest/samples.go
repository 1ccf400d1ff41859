package routingtest

import (
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
)

// SampleUsers returns the users that the suite knows by default: those of the
// examples in the documentation, of more than one server.
func SampleUsers() []presence.UserID {
	return []presence.UserID{
		presence.MustUserID("@alice:example.com"),
		presence.MustUserID("@bob:example.com"),
		presence.MustUserID("@presence_gobbler:example.com"),
		presence.MustUserID("@charlie:somewhere.org"),
		presence.MustUserID("@jo.ann:[2001:db8::1]:8448"),
	}
}

// SampleStates returns the batch that the suite asks about by default: two states of
// each of SampleUsers, and for each a third that repeats the first.
func SampleStates() []presence.UserState {
	var states []presence.UserState
	for i, user := range SampleUsers() {
		online := presence.UserState{
			UserID:          user,
			State:           presence.Online,
			LastActive:      1795378782366 + int64(i),
			LastUserSync:    1795378782300,
			StatusMsg:       presence.Status(fmt.Sprintf("lunch %d ☕", i)),
			CurrentlyActive: true,
		}
		offline := presence.UserState{UserID: user, State: presence.Offline, LastActive: 1795378782366 + int64(i)}
		states = append(states, online, offline, online)
	}
	return published(states)
}

// published returns states with an update attached to each that has none, so that
// altered copies can be told from made-up states.
func published(states []presence.UserState) []presence.UserState {
	attached := make([]presence.UserState, len(states))
	for i, s := range states {
		if s.Published() == nil {
			json := fmt.Appendf(nil, `{"user_id":%q,"state":%q}`, s.UserID, s.State)
			s = s.FromUpdate(json, uint64(i)+1)
		}
		attached[i] = s
	}
	return attached
}
