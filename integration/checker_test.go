package integration_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// TestCheckCatches feeds the checker a history without fault, and the same with
// one fault made in it.
func TestCheckCatches(t *testing.T) {
	t.Parallel()
	tests := []damaged{
		{"nothing", func(*integration.History) {}, map[integration.Fault]int{}},
		{
			"a delivery is lost",
			func(h *integration.History) { h.Deliveries = slices.Delete(h.Deliveries, 2, 3) },
			map[integration.Fault]int{integration.Lost: 2},
		},
		{
			"one state of a delivery is lost",
			func(h *integration.History) { cutState(&h.Deliveries[0]) },
			map[integration.Fault]int{integration.Lost: 1},
		},
		{
			"a delivery comes twice",
			func(h *integration.History) { h.Deliveries = slices.Insert(h.Deliveries, 1, h.Deliveries[0]) },
			map[integration.Fault]int{integration.Doubled: 2, integration.Reordered: 2},
		},
		{
			"a delivery comes twice under a later epoch",
			func(h *integration.History) {
				again := h.Deliveries[3]
				again.Epoch++
				h.Deliveries = append(h.Deliveries, again)
			},
			map[integration.Fault]int{integration.Doubled: 2, integration.Reordered: 2},
		},
		{
			"two deliveries of a recipient change places",
			func(h *integration.History) {
				h.Deliveries[0], h.Deliveries[2] = h.Deliveries[2], h.Deliveries[0]
			},
			map[integration.Fault]int{integration.Reordered: 2, integration.Backwards: 1},
		},
		{
			"the epoch goes back",
			func(h *integration.History) { h.Deliveries[2].Epoch-- },
			map[integration.Fault]int{integration.Reordered: 2, integration.Backwards: 1},
		},
		{
			"a batch is delivered again for somebody else",
			func(h *integration.History) {
				h.Updates[0].Recipients = append(slices.Clone(h.Updates[0].Recipients), presence.MustUserID("@eve:example.com"))
				h.Updates[1].Recipients = h.Updates[0].Recipients
				late := deliveryOf(t, presence.MustUserID("@eve:example.com"), h.Updates[0:2])
				h.Deliveries = append(h.Deliveries, late)
			},
			map[integration.Fault]int{integration.Backwards: 1},
		},
		{
			"a byte of a state is altered",
			func(h *integration.History) { alterState(&h.Deliveries[1]) },
			map[integration.Fault]int{integration.Altered: 1},
		},
		{
			"a state of nobody",
			func(h *integration.History) { h.Deliveries[1].RawStates[0] = json.RawMessage(`{"number":99}`) },
			map[integration.Fault]int{integration.Stray: 1, integration.Lost: 1},
		},
		{
			"a state for somebody else",
			func(h *integration.History) {
				h.Deliveries[1].Recipient = presence.MustUserID("@eve:example.com")
				h.Deliveries[1].Subject.Recipient = h.Deliveries[1].Recipient
			},
			map[integration.Fault]int{integration.Stray: 2, integration.Lost: 2},
		},
		{
			"the subject of somebody else",
			func(h *integration.History) {
				h.Deliveries[1].Subject.Recipient = presence.MustUserID("@eve:example.com")
			},
			map[integration.Fault]int{integration.Mislabeled: 1},
		},
		{
			"the sequence of another update",
			func(h *integration.History) { h.Deliveries[2].Sequences[1]++ },
			map[integration.Fault]int{integration.Mislabeled: 2},
		},
		{
			"a dead letter is lost",
			func(h *integration.History) { h.DeadLetters = nil },
			map[integration.Fault]int{integration.WrongDead: 1},
		},
		{
			"a dead letter comes twice",
			func(h *integration.History) { h.DeadLetters = append(h.DeadLetters, h.DeadLetters[0]) },
			map[integration.Fault]int{integration.WrongDead: 1},
		},
		{
			"a dead letter with another reason",
			func(h *integration.History) { h.DeadLetters[0].Reason = wire.TooLarge },
			map[integration.Fault]int{integration.WrongDead: 1},
		},
		{
			"a checkpoint goes back",
			func(h *integration.History) { h.Checkpoints[2].Sequence = 1 },
			map[integration.Fault]int{integration.Backwards: 1},
		},
		{
			"a checkpoint goes back within an update",
			func(h *integration.History) {
				h.Checkpoints[1].Sequence = h.Checkpoints[2].Sequence
				h.Checkpoints[2].After = presence.MustUserID("@b:example.com")
			},
			map[integration.Fault]int{integration.Backwards: 1},
		},
		{
			"a batch that was left half done is taken up again in smaller ones",
			func(h *integration.History) { h.Deliveries[0].Source.Last = h.Deliveries[3].Source.Last },
			map[integration.Fault]int{},
		},
		{
			"a worker gets a partition back",
			func(h *integration.History) { h.Checkpoints[1].Worker = "second" },
			map[integration.Fault]int{},
		},
	}
	checkDamaged(t, tests)
}

// damaged is a history without fault in which something is done.
type damaged struct {
	name   string
	damage func(h *integration.History)
	want   map[integration.Fault]int
}

func checkDamaged(t *testing.T, tests []damaged) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := soundHistory(t)
			tt.damage(&h)
			got := integration.Check(h)
			if fmt.Sprint(got.Faults) != fmt.Sprint(tt.want) {
				t.Errorf("Check finds %v, want %v:\n%s", got.Faults, tt.want, got)
			}
		})
	}
}

// TestCheckAllowsWhatIsGone feeds the checker histories of which the updates stream lost
// something: just that may be missing, or there again.
func TestCheckAllowsWhatIsGone(t *testing.T) {
	t.Parallel()
	again := func(epochs ...int64) func(h *integration.History) {
		return func(h *integration.History) {
			for i := range h.Updates[2:4] {
				h.Updates[2+i].Again, h.Updates[2+i].Sequence = true, 0
			}
			for _, epoch := range epochs {
				late := h.Deliveries[3]
				late.Epoch = epoch
				h.Deliveries = append(h.Deliveries, late)
			}
		}
	}
	letters := func(change func(u *integration.Update), n int) func(h *integration.History) {
		return func(h *integration.History) {
			change(&h.Updates[4])
			h.DeadLetters = slices.Repeat(h.DeadLetters, n)
		}
	}
	gone := func(u *integration.Update) { u.Gone = true }
	twice := func(u *integration.Update) { u.Again = true }
	checkDamaged(t, []damaged{
		{"one that is gone is missing for one recipient", func(h *integration.History) {
			gone(&h.Updates[2])
			cutState(&h.Deliveries[2])
		}, map[integration.Fault]int{}},
		{"one that is not gone is missing as well", func(h *integration.History) {
			gone(&h.Updates[2])
			h.Deliveries = slices.Delete(h.Deliveries, 2, 3)
		}, map[integration.Fault]int{integration.Lost: 1}},
		{"one that is gone comes twice", func(h *integration.History) {
			gone(&h.Updates[2])
			gone(&h.Updates[3])
			h.Deliveries = append(h.Deliveries, h.Deliveries[3])
		}, map[integration.Fault]int{integration.Doubled: 2, integration.Reordered: 2}},
		{"stored again, delivered again", again(1001), map[integration.Fault]int{}},
		{"stored again, delivered once", again(), map[integration.Fault]int{}},
		{"delivered again in the same epoch", again(1000), map[integration.Fault]int{integration.Doubled: 2, integration.Reordered: 2}},
		{"delivered a third time", again(1001, 1002), map[integration.Fault]int{integration.Doubled: 2, integration.Reordered: 2}},
		{"a letter of one that is gone is missing", letters(gone, 0), map[integration.Fault]int{}},
		{"two letters of one that is gone", letters(gone, 2), map[integration.Fault]int{integration.WrongDead: 1}},
		{"two letters of one stored again", letters(twice, 2), map[integration.Fault]int{}},
		{"no letter of one stored again", letters(twice, 0), map[integration.Fault]int{integration.WrongDead: 1}},
		{"three letters of one stored again", letters(twice, 3), map[integration.Fault]int{integration.WrongDead: 1}},
	})
}

// TestCheckAsReaderDropsWhatIsNotNewer repeats deliveries as they were, which a
// reader does not notice, and delivers under a sequence that it drops.
func TestCheckAsReaderDropsWhatIsNotNewer(t *testing.T) {
	t.Parallel()
	h := soundHistory(t)
	h.Deliveries = append(h.Deliveries, h.Deliveries...)
	if got := integration.CheckAsReader(h); !got.OK() || got.Dropped != 8 {
		t.Errorf("everything twice: dropped %d states, want 8: %s", got.Dropped, got)
	}
	h = soundHistory(t)
	h.Deliveries[2].Epoch--
	if got := integration.CheckAsReader(h); got.Faults[integration.Lost] != 2 {
		t.Errorf("a delivery under an older epoch: want 2 lost: %s", got)
	}
}

// soundHistory is four updates of two users, each for two recipients in two
// deliveries of two states, and one dead letter.
func soundHistory(t *testing.T) integration.History {
	t.Helper()
	recipients := []presence.UserID{presence.MustUserID("@alice:example.com"), presence.MustUserID("@bob:example.com")}
	var h integration.History
	for n := range 4 {
		user := presence.MustUserID(fmt.Sprintf("@user%d:example.com", n%2))
		h.Updates = append(h.Updates, integration.Update{
			Number: n, Sequence: uint64(10 + n), User: user, Recipients: recipients,
			JSON: fmt.Appendf(nil, `{"user_id":%q,"state":"online","last_active_ts":%d,"number":%d}`, user, n, n),
		})
	}
	for first := 0; first < len(h.Updates); first += 2 {
		for _, r := range recipients {
			h.Deliveries = append(h.Deliveries, deliveryOf(t, r, h.Updates[first:first+2]))
		}
		h.Checkpoints = append(h.Checkpoints, checkpointAt(h.Updates[first+1].Sequence))
	}
	bad := integration.Update{Number: 4, Sequence: 14, JSON: []byte(`no JSON`), Reason: wire.Malformed}
	h.Updates = append(h.Updates, bad)
	h.Checkpoints = append(h.Checkpoints, checkpointAt(bad.Sequence))
	h.DeadLetters = []integration.DeadLetter{{
		DeadLetter:    wire.DeadLetter{Reason: wire.Malformed, Sequence: bad.Sequence, Payload: bad.JSON},
		SubjectReason: wire.Malformed,
	}}
	return h
}

func deliveryOf(t *testing.T, recipient presence.UserID, updates []integration.Update) integration.Delivery {
	t.Helper()
	d := integration.Delivery{
		Subject: wire.DeliverySubject{Scope: wire.Local, Recipient: recipient},
		Source:  wire.Source{First: updates[0].Sequence, Last: updates[len(updates)-1].Sequence},
	}
	d.Recipient, d.Epoch = recipient, 1000
	for _, u := range updates {
		d.Sequences = append(d.Sequences, u.Sequence)
		d.RawStates = append(d.RawStates, slices.Clone(u.JSON))
	}
	return d
}

func checkpointAt(sequence uint64) integration.Checkpoint {
	return integration.Checkpoint{Checkpoint: wire.Checkpoint{Epoch: 1000, Sequence: sequence, Worker: "first"}}
}

func cutState(d *integration.Delivery) {
	d.Sequences, d.RawStates = d.Sequences[1:], d.RawStates[1:]
}

func alterState(d *integration.Delivery) {
	state := d.RawStates[1]
	d.RawStates[1] = append(slices.Clone(state[:len(state)-1]), ' ', '}')
}
