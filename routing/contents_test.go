package routing_test

import (
	"strconv"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// However alike the states of a batch are, each is found at once.
func TestStatesAreFoundAtOnce(t *testing.T) {
	t.Parallel()
	const states, most = 4096, 64 // about 7 where hashes are even
	for name, tell := range map[string]func(s *presence.UserState, i int){
		"user ID": func(s *presence.UserState, i int) {
			s.UserID = presence.MustUserID("@user" + strconv.Itoa(i) + ":example.com")
		},
		"status_msg":                          func(s *presence.UserState, i int) { s.StatusMsg = presence.Status(strconv.Itoa(i)) },
		"last_active_ts":                      func(s *presence.UserState, i int) { s.LastActive = int64(i) },
		"last_active_ts, high bits":           func(s *presence.UserState, i int) { s.LastActive = int64(i) << 40 },
		"last_federation_update_ts":           func(s *presence.UserState, i int) { s.LastFederationUpdate = int64(i) },
		"last_user_sync_ts":                   func(s *presence.UserState, i int) { s.LastUserSync = int64(i) },
		"two times with one and the same sum": func(s *presence.UserState, i int) { s.LastActive, s.LastUserSync = int64(i), int64(states-i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			batch := make([]presence.UserState, states)
			for i := range batch {
				batch[i] = presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online, LastActive: 1}
				tell(&batch[i], i)
			}
			if longest := routing.LongestChain(batch); longest > most {
				t.Errorf("%d of %d states share a chain, want %d at most", longest, states, most)
			}
		})
	}
}
