package stream_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/stream/wire"
)

// A repair finds the layout before a change by the checkpoints of workers, and by updates,
// not by what anybody had stored in place of a checkpoint.
func TestRepairFindsTheLayoutBefore(t *testing.T) {
	t.Parallel()
	next := wire.Layout{Generation: 3, Partitions: 6}
	tests := []struct {
		name    string
		prepare func(*testing.T, *site)
		want    string
	}{
		{"checkpoints", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 0, 3, "gone", 1)
		}, "from 4 partitions of generation 0"},
		{"foreign messages of the same layout", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 0, 3, "gone", 1)
			s.plantForeign(t, 0, 9)
			s.plantForeign(t, 0, 200)
		}, "from 4 partitions of generation 0"},
		{"foreign messages of a later layout", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 0, 3, "gone", 1)
			s.plantForeign(t, 1, 9)
			s.plantForeign(t, 2, 0)
		}, "from 4 partitions of generation 0"},
		{"a foreign message over a checkpoint", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 3, "gone", 1)
			s.plantForeign(t, 1, 3)
			s.plantForeign(t, 1, 4)
		}, "from 4 partitions of generation 1"},
		{"several layouts", func(t *testing.T, s *site) {
			t.Helper()
			for _, at := range [][2]int{{0, 9}, {2, 1}, {1, 12}, {2, 4}, {1, 0}} {
				s.plantCheckpoint(t, at[0], at[1], "gone", 1)
			}
		}, "from 5 partitions of generation 2"},
		{"checkpoints of this layout and later ones", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 2, "gone", 1)
			s.plantCheckpoint(t, 3, 5, "gone", 1)
			s.plantCheckpoint(t, 4, 7, "gone", 1)
		}, "from 3 partitions of generation 1"},
		{"more partitions than there may be", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 2, "gone", 1)
			s.plantCheckpoint(t, 1, 256, "gone", 1)
		}, "from 3 partitions of generation 1"},
		{"updates of a partition that was never claimed", func(t *testing.T, s *site) {
			t.Helper()
			s.publish(t, userIn(t, 3), 1)
			s.plantCheckpoint(t, 0, 0, "gone", 1)
		}, "from 4 partitions of generation 0"},
		{"foreign messages alone", func(t *testing.T, s *site) {
			t.Helper()
			s.plantForeign(t, 0, 3)
			s.plantForeign(t, 2, 3)
		}, "no layout before"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			tt.prepare(t, s)
			s.storeIn(t, next)
			s.publishRaw(t, s.subjects.LayoutRecord(), `{"stream":"PRESENCE_UPDATES","seq":1}`, nil)
			for range 5 { // Subjects are in the order of a map.
				mends, err := s.newRepair(t, "").Plan(t.Context())
				if err != nil || len(mends) == 0 || !strings.Contains(fmt.Sprint(mends[0].Write, mends[0].Refused), tt.want) {
					t.Fatalf("Plan = %v, %v, want %q", mends, err, tt.want)
				}
			}
		})
	}
}
