package commit_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/stream/internal/commit"
)

// A commit that loses a partition keeps everything of the others, in order, in whatever
// order their units came, and has room for as much as before.
func TestGroupLosesAPartition(t *testing.T) {
	t.Parallel()
	const partitions, messages, bytes = 3, 10, 100
	for _, order := range interleaved([partitions]int{2, 2, 2}) {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			for lost := range partitions {
				g := commit.NewGroup(len(order) * bytes)
				var kept, gone []commit.GroupUnit
				var ends []int
				for i, p := range order {
					u := commit.GroupUnit{Partition: p, UpTo: uint64(i) + 1, Messages: messages, Bytes: bytes}
					if !g.Take(u) {
						t.Fatalf("unit %d does not fit", i)
					}
					switch {
					case p == lost:
						gone = append(gone, u)
						continue
					case !slices.Contains(ends, p):
						ends = append(ends, p)
					}
					kept = append(kept, u)
				}
				if got := g.Drop(lost); !slices.Equal(got, gone) {
					t.Errorf("partition %d is lost with %v, want %v", lost, got, gone)
				}
				if got := g.Units(); !slices.Equal(got, kept) {
					t.Errorf("without partition %d the group has %v, want %v", lost, got, kept)
				}
				if got := g.Ends(); !slices.Equal(got, ends) {
					t.Errorf("without partition %d the group has checkpoints of %v, want %v", lost, got, ends)
				}
				if got, want := g.Messages(), len(kept)*messages+len(ends); got != want {
					t.Errorf("without partition %d the group has %d messages, want %d", lost, got, want)
				}
				for _, u := range kept {
					if got, want := g.UpTo(u.Partition), newestOf(kept, u.Partition); got != want {
						t.Errorf("without partition %d, partition %d reaches update %d, want %d", lost, u.Partition, got, want)
					}
				}
				if got := g.UpTo(lost); got != 0 {
					t.Errorf("partition %d reaches update %d after it is lost, want none", lost, got)
				}
				if g.Begun() || !g.Named() {
					t.Errorf("without partition %d, what was sent counts %t, and the name is kept %t, want false, true", lost, g.Begun(), g.Named())
				}
				if !g.Take(commit.GroupUnit{Partition: ends[0], Bytes: len(gone) * bytes}) || g.Take(commit.GroupUnit{Partition: ends[0], Bytes: 1}) {
					t.Errorf("without partition %d there is not room for %d bytes more, and no others", lost, len(gone)*bytes)
				}
			}
		})
	}
}

// interleaved returns every order of units of partitions, of which there are as many as
// left says.
func interleaved(left [3]int) [][]int {
	if left == [3]int{} {
		return [][]int{nil}
	}
	var orders [][]int
	for p, n := range left {
		if n == 0 {
			continue
		}
		rest := left
		rest[p]--
		for _, order := range interleaved(rest) {
			orders = append(orders, append([]int{p}, order...))
		}
	}
	return orders
}

// newestOf returns the last update of a partition's units.
func newestOf(units []commit.GroupUnit, partition int) (newest uint64) {
	for _, u := range units {
		if u.Partition == partition {
			newest = u.UpTo
		}
	}
	return newest
}

// A partition that a commit has nothing of changes nothing when it is lost: what was sent
// of the commit counts.
func TestGroupLosesAPartitionItDoesNotHave(t *testing.T) {
	t.Parallel()
	g := commit.NewGroup(100)
	u := commit.GroupUnit{Partition: 1, UpTo: 5, Messages: 1, Bytes: 1}
	if !g.Take(u) {
		t.Fatal("the unit does not fit")
	}
	if got := g.Drop(2); len(got) > 0 || !slices.Equal(g.Units(), []commit.GroupUnit{u}) || g.Messages() != 2 || !g.Begun() {
		t.Errorf("%v is lost, and %v of %d messages left, begun %t, want everything as it was", got, g.Units(), g.Messages(), g.Begun())
	}
}

// A commit has as many messages as the server takes in a batch, a checkpoint of each
// partition among them, and as many bytes as its bound, but for one unit alone.
func TestGroupHasBounds(t *testing.T) {
	t.Parallel()
	const most = 100
	of := func(partition, messages, bytes int) commit.GroupUnit {
		return commit.GroupUnit{Partition: partition, Messages: messages, Bytes: bytes}
	}
	tests := []struct {
		name   string
		before []commit.GroupUnit
		next   commit.GroupUnit
		fits   bool
	}{
		{"messages and a checkpoint", nil, of(0, commit.MaxBatchMessages-1, 1), true},
		{"one message too many", nil, of(0, commit.MaxBatchMessages, 1), false},
		{"more of a partition", []commit.GroupUnit{of(0, 10, 1)}, of(0, commit.MaxBatchMessages-11, 1), true},
		{"one too many of a partition", []commit.GroupUnit{of(0, 10, 1)}, of(0, commit.MaxBatchMessages-10, 1), false},
		{"another partition", []commit.GroupUnit{of(0, 10, 1)}, of(1, commit.MaxBatchMessages-12, 1), true},
		{"one too many of another partition", []commit.GroupUnit{of(0, 10, 1)}, of(1, commit.MaxBatchMessages-11, 1), false},
		{"the checkpoint of another partition is too many", []commit.GroupUnit{of(0, commit.MaxBatchMessages-1, 1)}, of(1, 0, 0), false},
		{"a position", []commit.GroupUnit{of(0, commit.MaxBatchMessages-1, 1)}, of(0, 0, 0), true},
		{"bytes", []commit.GroupUnit{of(0, 1, 60)}, of(1, 1, 40), true},
		{"one byte too many", []commit.GroupUnit{of(0, 1, 60)}, of(1, 1, 41), false},
		{"one byte too many of a partition", []commit.GroupUnit{of(0, 1, 60)}, of(0, 1, 41), false},
		{"a large unit alone", nil, of(0, 1, most+1), true},
		{"another behind a large one", []commit.GroupUnit{of(0, 1, most+1)}, of(1, 1, 0), false},
		{"a large one behind another", []commit.GroupUnit{of(0, 0, 0)}, of(1, 1, most+1), false},
	}
	for _, tt := range tests {
		g := commit.NewGroup(most)
		for _, u := range tt.before {
			if !g.Take(u) {
				t.Fatalf("%s: what comes before does not fit", tt.name)
			}
		}
		messages := g.Messages()
		if got := g.Take(tt.next); got != tt.fits {
			t.Errorf("%s: it fits %t, want %t", tt.name, got, tt.fits)
		}
		if !tt.fits && (!slices.Equal(g.Units(), tt.before) || g.Messages() != messages) {
			t.Errorf("%s: what does not fit leaves %v of %d messages, want it as it was", tt.name, g.Units(), g.Messages())
		}
	}
}
