package routing_test

import (
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestNewestPerUser(t *testing.T) {
	t.Parallel()
	state := func(user string, at int64) presence.UserState {
		return presence.UserState{UserID: presence.MustUserID(user), LastActive: at}
	}
	const alice, bob = "@alice:example.com", "@bob:example.com"
	for name, c := range map[string]struct {
		states []presence.UserState
		want   []int64
	}{
		"nobody":             {nil, nil},
		"one of each":        {[]presence.UserState{state(alice, 1), state(bob, 2)}, []int64{1, 2}},
		"several of one":     {[]presence.UserState{state(alice, 1), state(alice, 2), state(alice, 3)}, []int64{3}},
		"in order of newest": {[]presence.UserState{state(alice, 1), state(bob, 2), state(alice, 3)}, []int64{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []int64
			for _, s := range routing.NewestPerUser(c.states) {
				got = append(got, s.LastActive)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("NewestPerUser keeps %v, want %v", got, c.want)
			}
		})
	}
}
