package assignment_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/stream/internal/assignment"
)

const seed = 1

// forRandom calls check with many random deployments: workers come and go, and
// each holds what it was given or, now and then, anything.
func forRandom(t *testing.T, check func(t *testing.T, numbers *rand.Rand, members, holders []string)) {
	t.Helper()
	numbers := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // Failures are to come back.
	for range 500 {
		members := workers(1+numbers.IntN(12), numbers)
		holders := make([]string, 1+numbers.IntN(64))
		for p := range holders {
			switch numbers.IntN(4) {
			case 0: // nobody
			case 1:
				holders[p] = fmt.Sprintf("gone-%d", numbers.IntN(3))
			default:
				holders[p] = members[numbers.IntN(len(members))]
			}
		}
		check(t, numbers, members, holders)
		if t.Failed() {
			t.Fatalf("members %q, holders %q", members, holders)
		}
	}
}

func workers(n int, numbers *rand.Rand) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("w%d", i)
	}
	numbers.Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

func counts(owners []string) map[string]int {
	n := make(map[string]int)
	for _, owner := range owners {
		n[owner]++
	}
	return n
}

func TestEveryPartitionHasOneOwnerAndSharesDifferByOne(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, _ *rand.Rand, members, holders []string) {
		t.Helper()
		owners := assignment.Owners(members, holders)
		if len(owners) != len(holders) {
			t.Errorf("%d owners, want %d", len(owners), len(holders))
		}
		owned := counts(owners)
		for owner := range owned {
			if !slices.Contains(members, owner) {
				t.Errorf("%q owns a partition and is no member", owner)
			}
		}
		least, most := len(holders)/len(members), (len(holders)+len(members)-1)/len(members)
		for _, m := range members {
			if owned[m] < least || owned[m] > most {
				t.Errorf("%s owns %d partitions, want %d to %d", m, owned[m], least, most)
			}
		}
	})
}

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, numbers *rand.Rand, members, holders []string) {
		t.Helper()
		want := assignment.Owners(members, holders)
		others := slices.Clone(members)
		numbers.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		if got := assignment.Owners(others, holders); !slices.Equal(got, want) {
			t.Errorf("Owners(%q) = %q, Owners(%q) = %q", members, want, others, got)
		}
	})
}

func TestSettledPartitionsStay(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, _ *rand.Rand, members, holders []string) {
		t.Helper()
		owners := assignment.Owners(members, holders)
		if again := assignment.Owners(members, owners); !slices.Equal(again, owners) {
			t.Errorf("Owners of what is settled = %q, want %q", again, owners)
		}
	})
}

// What a member holds it loses only where that is more than the highest share.
func TestMembersKeepTheirShare(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, _ *rand.Rand, members, holders []string) {
		t.Helper()
		owners := assignment.Owners(members, holders)
		held, least := counts(holders), len(holders)/len(members)
		for _, m := range members {
			kept := 0
			for p := range holders {
				if holders[p] == m && owners[p] == m {
					kept++
				}
			}
			if kept < min(held[m], least) {
				t.Errorf("%s keeps %d of %d partitions, want at least %d", m, kept, held[m], min(held[m], least))
			}
		}
	})
}

// A worker that comes takes partitions, and no others move; a worker that goes
// leaves partitions, and no others move.
func TestOnlyWhatMustMoves(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, numbers *rand.Rand, members, holders []string) {
		t.Helper()
		settled := assignment.Owners(members, holders)
		grown := assignment.Owners(append(slices.Clone(members), "new"), settled)
		for p := range settled {
			if grown[p] != settled[p] && grown[p] != "new" {
				t.Errorf("partition %d moves from %s to %s when new joins", p, settled[p], grown[p])
			}
		}
		if len(members) == 1 {
			return
		}
		gone := numbers.IntN(len(members))
		left := slices.Delete(slices.Clone(members), gone, gone+1)
		shrunk := assignment.Owners(left, settled)
		for p := range settled {
			if shrunk[p] != settled[p] && settled[p] != members[gone] {
				t.Errorf("partition %d moves from %s to %s when %s leaves", p, settled[p], shrunk[p], members[gone])
			}
		}
	})
}

// Whatever part of a handover is done, the rest goes on to the same end.
func TestHalfDoneHandoverGoesOn(t *testing.T) {
	t.Parallel()
	forRandom(t, func(t *testing.T, numbers *rand.Rand, members, holders []string) {
		t.Helper()
		want := assignment.Owners(members, holders)
		now := slices.Clone(holders)
		for range 20 {
			p := numbers.IntN(len(now))
			switch {
			case now[p] == want[p]:
			case now[p] != "" && numbers.IntN(2) == 0:
				now[p] = "" // released, not claimed yet
			default:
				now[p] = want[p]
			}
			if got := assignment.Owners(members, now); !slices.Equal(got, want) {
				t.Errorf("with %q owners are %q, want %q", now, got, want)
				return
			}
		}
	})
}

func TestFewerPartitionsThanWorkers(t *testing.T) {
	t.Parallel()
	owned := counts(assignment.Owners([]string{"a", "b", "c", "d"}, make([]string, 2)))
	if len(owned) != 2 || slices.Max(slices.Collect(maps.Values(owned))) != 1 {
		t.Errorf("2 partitions of 4 workers are owned %v, want one each by two", owned)
	}
}

func TestWithoutMembers(t *testing.T) {
	t.Parallel()
	if got := assignment.Owners(nil, []string{"", "gone"}); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("owners are %q, want none", got)
	}
}

// Partitions that nobody has spread over workers whose names are alike.
func TestNewWorkersShareAlike(t *testing.T) {
	t.Parallel()
	owners := assignment.Owners([]string{"worker-1", "worker-2"}, make([]string, 64))
	runs := 0
	for p := 1; p < len(owners); p++ {
		if owners[p] != owners[p-1] {
			runs++
		}
	}
	if runs < 15 {
		t.Errorf("owners change %d times along the partitions, want them mixed: %q", runs, owners)
	}
}

func TestPreferredIsOneOfBoth(t *testing.T) {
	t.Parallel()
	for p := range 100 {
		ab, ba := assignment.Preferred("a", "b", p), assignment.Preferred("b", "a", p)
		if ab != ba || ab != "a" && ab != "b" {
			t.Errorf("partition %d: Preferred is %q and %q, want one of both, whichever order", p, ab, ba)
		}
	}
}

func FuzzOwners(f *testing.F) {
	f.Add(3, 16, uint64(1))
	f.Fuzz(func(t *testing.T, members, partitions int, seed uint64) {
		if members < 1 || members > 50 || partitions < 0 || partitions > 300 {
			return
		}
		numbers := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // Failures are to come back.
		ids := workers(members, numbers)
		holders := make([]string, partitions)
		for p := range holders {
			holders[p] = ids[numbers.IntN(len(ids))]
		}
		owned := counts(assignment.Owners(ids, holders))
		for _, id := range ids {
			if n := owned[id]; n < partitions/members || n > (partitions+members-1)/members {
				t.Errorf("%s owns %d of %d partitions among %d", id, n, partitions, members)
			}
		}
	})
}

// Workers of two versions have to come to the same answer.
func TestOwnersStayTheSame(t *testing.T) {
	t.Parallel()
	members := []string{"w1", "w2", "w3"}
	for _, tt := range []struct {
		holders, want []string
	}{
		{make([]string, 8), []string{"w2", "w3", "w3", "w2", "w2", "w1", "w1", "w1"}},
		{slices.Repeat([]string{"w1"}, 8), []string{"w2", "w3", "w1", "w1", "w3", "w2", "w1", "w2"}},
		{append(slices.Repeat([]string{"w2"}, 7), "gone"), []string{"w3", "w3", "w1", "w2", "w2", "w2", "w1", "w1"}},
	} {
		if got := assignment.Owners(members, tt.holders); !slices.Equal(got, tt.want) {
			t.Errorf("Owners(%q, %q) = %q, want %q", members, tt.holders, got, tt.want)
		}
	}
	var preferred []string
	for partition := range 8 {
		if a, b := assignment.Preferred("w1", "w2", partition), assignment.Preferred("w2", "w1", partition); a != b {
			t.Errorf("partition %d: preferred is %s or %s", partition, a, b)
		}
		preferred = append(preferred, assignment.Preferred("w1", "w2", partition))
	}
	if want := []string{"w2", "w1", "w1", "w2", "w2", "w2", "w1", "w2"}; !slices.Equal(preferred, want) {
		t.Errorf("preferred of w1 and w2 are %q, want %q", preferred, want)
	}
}
