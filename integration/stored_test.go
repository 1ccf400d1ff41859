package integration_test

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/stream/wire"
)

// loss is a time at which the updates stream lost messages that it had.
type loss struct {
	before       uint64 // messages before that sequence; 0 for the newest ones
	began, ended time.Time
	done         []time.Time // by partition: what was stored earlier was committed already; empty where that is not known
}

// loses does something by which the updates stream loses messages, and notes it.
func (f *fleet) loses(l loss, do func() error) error {
	l.began = time.Now()
	err := do()
	l.ended = time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losses = append(f.losses, l)
	return err
}

// tookAway reports whether an update that is not stored may have been lost then,
// before it was delivered or after.
func (l loss) tookAway(u *sentUpdate, store store) bool {
	if l.before == 0 {
		return u.acked.Before(l.ended) && u.Sequence > store.last(l.began)
	}
	return u.Sequence < l.before && u.began.Before(l.ended)
}

// unread reports whether an update that was lost then need not have been delivered.
func (l loss) unread(u *sentUpdate) bool {
	return len(l.done) == 0 || !u.acked.Before(l.done[wire.Partition(u.User, len(l.done))])
}

// meanwhile reports whether an update was on its way then: it may have been stored,
// lost and stored again.
func (l loss) meanwhile(u *sentUpdate) bool { return u.began.Before(l.ended) && u.acked.After(l.began) }

// store is what the updates stream holds.
type store struct {
	sequences map[string]uint64 // by payload
	times     []time.Time       // of the messages, in their order
	ordered   []uint64          // their sequences
}

// last returns the sequence of the last message that was stored before a time.
func (s store) last(before time.Time) uint64 {
	n, _ := slices.BinarySearchFunc(s.times, before, time.Time.Compare)
	if n == 0 {
		return 0
	}
	return s.ordered[n-1]
}

// stored returns what was made with the sequences that updates have in the updates
// stream, by which those of an update whose acknowledgement never came are known. It
// wants the server to have kept everything that it acknowledged and that was not taken
// from it.
func (f *fleet) stored(made []*sentUpdate) []integration.Update {
	f.t.Helper()
	store := f.store()
	updates := make([]integration.Update, len(made))
	for i, sent := range made {
		u := sent.Update
		at, found := store.sequences[string(u.JSON)]
		gone := false
		for _, l := range f.losses {
			u.Again = u.Again || l.meanwhile(sent)
			if !found && l.tookAway(sent, store) {
				gone = true
				u.Gone = u.Gone || l.unread(sent)
			}
		}
		switch {
		case !found && !gone && !u.Again:
			f.problem("the server has lost update %d, which it acknowledged at %d", u.Number, u.Sequence)
		case found && !u.Again && u.Sequence != 0 && u.Sequence != at:
			f.problem("the server has update %d at %d, acknowledged was %d", u.Number, at, u.Sequence)
		}
		if found {
			u.Sequence = at
		}
		if u.Again { // Each storing has one of its own.
			u.Sequence, u.Gone = 0, !found
		}
		updates[i] = u
	}
	return updates
}

// store reads the updates stream.
func (f *fleet) store() store {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), commitTimeout)
	defer cancel()
	s := store{sequences: make(map[string]uint64)}
	f.read(ctx, f.subjects.UpdatesStream(), 0, func(m jetstream.Msg) {
		at := sequenceOf(f.t, m)
		if before, twice := s.sequences[string(m.Data())]; twice {
			f.problem("the server has an update twice, at %d and %d: %.80q", before, at, m.Data())
		}
		s.sequences[string(m.Data())] = at
		s.ordered = append(s.ordered, at)
		s.times = append(s.times, timeOf(f.t, m))
	})
	return s
}
