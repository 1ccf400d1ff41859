package routing_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestAllAbsorbs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable, no secret
	for range rounds {
		interests := make([]routing.Interest, random.IntN(5))
		routers := make([]routing.Router, len(interests))
		all, want := false, make(map[presence.UserID]bool)
		for i := range interests {
			interests[i] = randomInterest(random)
			routers[i] = interestRouter(interests[i])
			all = all || interests[i].IsAll()
			for _, user := range interests[i].Users() {
				want[user] = true
			}
		}
		result, err := newDispatcher(t, routers...).InterestedUsers(t.Context(), local("alice"))
		if err != nil {
			t.Fatalf("InterestedUsers: %v", err)
		}
		if result.Interest.IsAll() != all {
			t.Fatalf("interest in all is %t, want %t", result.Interest.IsAll(), all)
		}
		checkUnion(t, result.Interest, want, all)
	}
}

func checkUnion(t *testing.T, got routing.Interest, want map[presence.UserID]bool, all bool) {
	t.Helper()
	if all {
		want = nil
	}
	if len(got.Users()) != len(want) || !slices.IsSortedFunc(got.Users(), presence.UserID.Compare) {
		t.Fatalf("users %v, want the %d of %v in order", got.Users(), len(want), want)
	}
	for _, user := range got.Users() {
		if !want[user] {
			t.Fatalf("users %v, want %v", got.Users(), want)
		}
	}
}

func randomInterest(random *rand.Rand) routing.Interest {
	if random.IntN(6) == 0 {
		return routing.All()
	}
	var users []presence.UserID
	for range random.IntN(6) {
		n := random.IntN(8)
		users = append(users, local("abcdefgh"[n:n+1]))
	}
	return routing.Users(users...)
}
