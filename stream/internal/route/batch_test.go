package route_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/route"
	"github.com/presence-router/presence-router/stream/wire"
)

// Both halves of a batch together are what it was, and each state and each dead letter goes
// with its update.
func TestCutBatch(t *testing.T) {
	t.Parallel()
	const updates = 4
	var states []presence.UserState
	var sequences []uint64
	for i := range updates {
		body := update(bob, i)
		sequence := uint64(10 * (i + 1))
		s, err := wire.DecodeUpdate([]byte(body), sequence, len(body))
		if err != nil {
			t.Fatal(err)
		}
		states, sequences = append(states, s), append(sequences, sequence)
	}
	for n := 1; n < updates; n++ {
		parts := route.Cut(states, []presence.UserID{presence.MustUserID(alice), presence.MustUserID(carol)}, n)
		for i, want := range [][]uint64{sequences[:n], sequences[n:]} {
			if !slices.Equal(parts[i].Updates, want) {
				t.Errorf("cut behind %d: part %d is of updates %v, want %v", n, i, parts[i].Updates, want)
			}
			if !slices.Equal(parts[i].Letters, want) {
				t.Errorf("cut behind %d: part %d has dead letters of updates %v, want %v", n, i, parts[i].Letters, want)
			}
			if each := map[string][]uint64{alice: want, carol: want}; !reflect.DeepEqual(parts[i].Recipients, each) {
				t.Errorf("cut behind %d: part %d has %v, want %v", n, i, parts[i].Recipients, each)
			}
		}
	}
}
