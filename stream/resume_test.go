package stream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream"
)

// history is what an updates stream holds.
type history struct {
	created     time.Time
	first, last uint64               // as the stream has them, also if it is empty
	stored      map[uint64]time.Time // when the updates were stored that are left
}

// broken reports whether p was made in another stream than the one there is.
func (h history) broken(p stream.Place) bool {
	switch at, found := h.stored[p.Sequence]; {
	case !p.Created.Equal(h.created) || p.Sequence > h.last:
		return true
	default:
		return found && !at.Equal(p.Time)
	}
}

// behind returns the position before the first update that was stored after a moment.
func (h history) behind(moment time.Time) (uint64, time.Time) {
	before := h.last
	for sequence := h.last; sequence >= h.first && sequence > 0; sequence-- {
		if at, found := h.stored[sequence]; found && at.After(moment) {
			before = sequence - 1
		}
	}
	if at, found := h.stored[before]; found {
		return before, at
	}
	return before, moment
}

// A position goes on unless it is of another stream than the one there is, and then from
// the first update that was stored after its own, whatever else the two have in common.
func TestResume(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		updates int
		left    func(*testing.T, jetstream.Stream) // takes some of the updates away
	}{
		{"all updates", 5, func(*testing.T, jetstream.Stream) {}},
		{"some are gone", 6, func(t *testing.T, updates jetstream.Stream) {
			t.Helper()
			if err := updates.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
				t.Fatal(err)
			}
			if err := updates.DeleteMsg(t.Context(), 4); err != nil {
				t.Fatal(err)
			}
		}},
		{"the newest is gone", 3, func(t *testing.T, updates jetstream.Stream) {
			t.Helper()
			if err := updates.DeleteMsg(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
		}},
		{"all are gone", 3, func(t *testing.T, updates jetstream.Stream) {
			t.Helper()
			if err := updates.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"no updates", 0, func(*testing.T, jetstream.Stream) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := s.newWorkerToAlice(t)
			s.publishMany(t, 0, tt.updates)
			h := history{stored: make(map[uint64]time.Time)}
			moments := []time.Time{{}}
			for i := range tt.updates {
				m, err := s.updatesStream(t).GetMsg(t.Context(), uint64(i)+1)
				if err != nil {
					t.Fatal(err)
				}
				h.stored[m.Sequence] = m.Time
				moments = append(moments, m.Time, m.Time.Add(time.Nanosecond))
			}
			tt.left(t, s.updatesStream(t))
			info := s.updatesStream(t).CachedInfo()
			h.created, h.first, h.last = info.Created, info.State.FirstSeq, info.State.LastSeq
			for sequence := range h.stored {
				if _, err := s.updatesStream(t).GetMsg(t.Context(), sequence); err != nil {
					delete(h.stored, sequence)
				}
			}
			for _, created := range []time.Time{h.created, h.created.Add(-time.Hour), h.created.Add(time.Nanosecond)} {
				for _, moment := range moments {
					for sequence := range h.last + 2 {
						p := stream.Place{Epoch: 7, Sequence: sequence, Time: moment, Created: created}
						wantResumed(t, w, h, p, p)
					}
				}
			}
			for sequence := range h.last + 2 { // What was read further on tells of a break, too.
				for _, moment := range moments {
					p := stream.Place{Epoch: 7, Created: h.created}
					reached := p
					reached.Sequence, reached.Time = sequence, moment
					wantResumed(t, w, h, p, reached)
				}
			}
		})
	}
}

func wantResumed(t *testing.T, w *worker, h history, p, reached stream.Place) {
	t.Helper()
	got, err := w.Resume(t.Context(), p, reached, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !h.broken(p) && !h.broken(reached) {
		if got != p {
			t.Errorf("%+v, read up to %+v, goes on as %+v, want it as it is", p, reached, got)
		}
		return
	}
	sequence, moment := h.behind(p.Time)
	if got.Sequence != sequence || !got.Time.Equal(moment) || !got.Created.Equal(h.created) || got.Epoch <= p.Epoch {
		t.Errorf("%+v, read up to %+v, goes on as %+v, want a later epoch from update %d of %v", p, reached, got, sequence, moment)
	}
	if again, err := w.Resume(t.Context(), got, got, time.Time{}); err != nil || again != got {
		t.Errorf("%+v goes on as %+v, and that as %+v, %v, want it to stay", p, got, again, err)
	}
}

// Updates that the stream dropped after a position was committed, and before they were
// routed, are told.
func TestExpiryIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishMany(t, 0, 6)
	if err := s.updatesStream(t).Purge(t.Context(), jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	info := s.updatesStream(t).CachedInfo()
	tests := []struct {
		name     string
		sequence uint64
		written  time.Time
		told     bool
	}{
		{"the newest position", 2, time.Time{}, false},
		{"two are missing", 2, info.State.FirstTime.Add(-time.Nanosecond), true},
		{"one is missing", 3, info.State.FirstTime.Add(-time.Hour), true},
		{"none is missing", 4, info.State.FirstTime.Add(-time.Hour), false},
		{"committed with the oldest update", 2, info.State.FirstTime, false},
		{"committed after the oldest update", 2, info.State.FirstTime.Add(time.Second), false},
		{"before all of them", 0, info.State.FirstTime.Add(-time.Hour), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := s.newWorkerToAlice(t)
			p := stream.Place{Sequence: tt.sequence, Created: info.Created}
			if got, err := w.Resume(t.Context(), p, p, tt.written); err != nil || got != p {
				t.Errorf("%+v goes on as %+v, %v, want it as it is", p, got, err)
			}
			n := 0
			if tt.told {
				n = 1
			}
			w.log.want(t, n, "updates expired before they were routed")
		})
	}
}
