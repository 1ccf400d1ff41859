package membership_test

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/internal/membership"
	"github.com/presence-router/presence-router/stream/wire"
)

func TestMain(m *testing.M) { os.Exit(natstest.Main(m)) }

const (
	self      = "self"
	instance  = "now"
	memberTTL = time.Minute // how long a worker waits for heartbeats in these tests, at most what may be configured
)

func subjectsOf(t *testing.T) wire.Subjects {
	t.Helper()
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		t.Fatal(err)
	}
	return subjects
}

// newMembers returns the members of a worker on the server of js, nil for none.
func newMembers(t *testing.T, worker string, js jetstream.JetStream) *membership.Members {
	t.Helper()
	m, err := membership.New(membership.Config{
		JS: js, Subjects: subjectsOf(t), Worker: worker, Instance: instance, TTL: memberTTL,
		Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// memberOn returns what a worker knows that serves the second layout since a moment.
func memberOn(t *testing.T, js jetstream.JetStream, since time.Time) *membership.Members {
	t.Helper()
	m := newMembers(t, self, js)
	m.Stand(2, since)
	return m
}

// says returns a heartbeat of a worker that has partition 0, claimed with the checkpoint
// at the sequence claim.
func says(worker string, claim uint64) wire.Heartbeat {
	return wire.Heartbeat{Worker: worker, Instance: worker, TTL: time.Minute.Milliseconds(), Partitions: []int{0}, Claims: []uint64{claim}}
}

// Of two workers that say they have a partition, the one that claimed it last has
// fenced the other.
func TestHolderIsWhoClaimedLast(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		beats  []wire.Heartbeat
		holder string
	}{
		{"another", []wire.Heartbeat{says("a", 5), says("b", 7), says(self, 6)}, "b"},
		{"another, heard first", []wire.Heartbeat{says("b", 7), says("a", 5), says(self, 6)}, "b"},
		{"this one", []wire.Heartbeat{says("a", 5), says("b", 7), says(self, 8)}, self},
		{"one that has not claimed it yet is none", []wire.Heartbeat{says("a", 0), says(self, 3)}, self},
		{"nobody", []wire.Heartbeat{{Worker: self}, {Worker: "a"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMembers(t, self, nil)
			for _, h := range tt.beats {
				m.Hear(h, time.Now())
			}
			if got := m.Holders(1); got[0] != tt.holder {
				t.Errorf("holder is %q, want %q", got[0], tt.holder)
			}
		})
	}
}

// A worker waits with a claim until the holder has given the partition up, and for the
// time that a heartbeat counts at most.
func TestClaimWaitsForTheHolder(t *testing.T) {
	t.Parallel()
	const ttl = memberTTL
	now := time.Now()
	m := newMembers(t, self, nil)
	want := func(at time.Duration, want bool) {
		t.Helper()
		if at > 0 {
			m.Hear(wire.Heartbeat{Worker: self}, now.Add(at))
		}
		if got := m.MayClaim(0, now.Add(at)); got != want {
			t.Errorf("after %v MayClaim = %t, want %t", at, got, want)
		}
	}
	want(0, false) // It is no member.
	m.Hear(says("other", 5), now)
	want(time.Second, false)
	want(ttl, false)
	gone := says("other", 5)
	gone.Beat, gone.Partitions, gone.Claims = 1, nil, nil
	m.Hear(gone, now.Add(ttl))
	want(ttl+time.Millisecond, true)
	again := says("other", 9)
	again.Beat = 2
	m.Hear(again, now.Add(ttl))
	want(ttl+2*time.Millisecond, false)
	want(2*ttl+2*time.Millisecond, false)
	want(2*ttl+3*time.Millisecond, true) // It does not give it up in time.
}

// Others are gone once nothing was heard of them for as long as their heartbeats count. A
// worker that could not have heard them, or was not running, gives them that time again.
func TestWhoIsGone(t *testing.T) {
	t.Parallel()
	const ttl, look, moment = memberTTL, 5 * time.Second, time.Millisecond
	url := natstest.Run(t).URL()
	js, closed := natstest.JetStream(t, natstest.Connect(t, url)), natstest.JetStream(t, natstest.Connect(t, url))
	closed.Conn().Close()
	tests := []struct {
		name      string
		ago       time.Duration // since the other was heard
		looked    time.Duration // since this worker looked
		lifetime  time.Duration // of the other's heartbeats
		connected bool
		gone      bool
	}{
		{"heard just now", 0, look, ttl, true, false},
		{"heard as long ago as a heartbeat counts", ttl, look, ttl, true, false},
		{"heard longer ago", ttl + moment, look, ttl, true, true},
		{"its own time counts", ttl + moment, look, 2 * ttl, true, false},
		{"its own time is shorter", ttl / 2, look, ttl/2 - moment, true, true},
		{"looked as long ago as a heartbeat takes", ttl + moment, ttl / 3, ttl, true, true},
		{"did not run", ttl + moment, ttl/3 + moment, ttl, true, false},
		{"did not run for long", 10 * ttl, 10 * ttl, ttl, true, false},
		{"no connection", 10 * ttl, look, ttl, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			on := closed
			if tt.connected {
				on = js
			}
			m := memberOn(t, on, now.Add(-tt.looked))
			m.Hear(wire.Heartbeat{Worker: "other", Instance: "i", TTL: tt.lifetime.Milliseconds()}, now.Add(-tt.ago))
			m.Look(now)
			if gone := len(m.Others()) == 0; gone != tt.gone {
				t.Errorf("the other is gone %t, want %t", gone, tt.gone)
			}
			if !tt.connected || tt.gone {
				return
			}
			heard := now.Add(-tt.ago)
			if tt.looked > ttl/3 {
				heard = now // as far as that is known
			}
			for at := now; !at.After(heard.Add(tt.lifetime)); at = at.Add(look) {
				if m.Look(at); len(m.Others()) == 0 {
					t.Fatalf("the other is gone after %v, want %v", at.Sub(heard), tt.lifetime)
				}
			}
			m.Look(heard.Add(tt.lifetime))
			if m.Look(heard.Add(tt.lifetime + moment)); len(m.Others()) > 0 {
				t.Errorf("the other is there %v after it was heard, want it gone", tt.lifetime+moment)
			}
		})
	}
}

// A worker whose heartbeats were not stored or not heard for a while may not have heard
// the others either.
func TestWhoMayNotHaveBeenHeard(t *testing.T) {
	t.Parallel()
	const ttl = memberTTL
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	tests := []struct {
		name string
		ago  time.Duration // since the worker's own heartbeat
		gone bool
	}{
		{"a member", -time.Hour, true}, // However long the test takes.
		{"no member", 2 * ttl, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			m := memberOn(t, js, now.Add(-tt.ago))
			m.Look(now)
			m.Hear(wire.Heartbeat{Worker: "other", Instance: "i", TTL: ttl.Milliseconds()}, now.Add(-2*ttl))
			m.Renew(now)
			m.Look(now)
			if gone := len(m.Others()) == 0; gone != tt.gone {
				t.Errorf("the other is gone %t, want %t", gone, tt.gone)
			}
		})
	}
}

// What a worker makes of each message that comes where heartbeats do.
func TestWhatIsHeard(t *testing.T) {
	t.Parallel()
	const generation = 2
	subjects := subjectsOf(t)
	// beat returns a heartbeat of this worker's layout, changed.
	beat := func(worker, instance string, started time.Time, change func(*wire.Heartbeat)) []byte {
		h := wire.Heartbeat{Worker: worker, Instance: instance, Started: started, TTL: 60_000, Generation: generation}
		if change != nil {
			change(&h)
		}
		data, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	tests := []struct {
		name     string
		message  func(started time.Time) []byte // of this worker
		others   []string
		echoed   bool
		replaced bool
		looks    bool
	}{
		{"another worker", func(time.Time) []byte { return beat("other", "i", time.Now(), nil) }, []string{"other"}, false, false, false},
		{"another worker of an earlier layout", func(time.Time) []byte {
			return beat("other", "i", time.Now(), func(h *wire.Heartbeat) { h.Generation-- })
		}, []string{"other"}, false, false, true},
		{"another worker of a later layout", func(time.Time) []byte {
			return beat("other", "i", time.Now(), func(h *wire.Heartbeat) { h.Generation++ })
		}, []string{"other"}, false, false, true},
		{"this worker", func(started time.Time) []byte { return beat(self, instance, started, nil) }, nil, true, false, false},
		{"an earlier run of this worker", func(started time.Time) []byte { return beat(self, "earlier", started.Add(-time.Second), nil) }, nil, false, false, false},
		{"a later run of this worker", func(started time.Time) []byte { return beat(self, "later", started.Add(time.Second), nil) }, nil, false, true, false},
		{"rubbish", func(time.Time) []byte { return []byte("rubbish") }, nil, false, false, false},
		{"a key that was deleted", func(time.Time) []byte { return nil }, nil, false, false, false},
		{"a heartbeat that is not valid", func(time.Time) []byte { return []byte(`{"worker":"other","instance":"i"}`) }, nil, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			since := time.Now().Add(-time.Second)
			m := memberOn(t, nil, since)
			m.Receive(subjects.Heartbeat("somebody"), tt.message(m.Started()))
			if got := m.Others(); !slices.Equal(got, tt.others) {
				t.Errorf("the others are %q, want %q", got, tt.others)
			}
			if echoed := m.Heard().After(since); echoed != tt.echoed {
				t.Errorf("the worker has heard itself %t, want %t", echoed, tt.echoed)
			}
			if err := m.Stopped(); errors.Is(err, membership.ErrReplaced) != tt.replaced || (err != nil) != tt.replaced {
				t.Errorf("the worker stops with %v, want that it is replaced %t", err, tt.replaced)
			}
			if got := m.LooksForLayout(); got != tt.looks {
				t.Errorf("the worker looks for another layout %t, want %t", got, tt.looks)
			}
		})
	}
	m := memberOn(t, nil, time.Now())
	if m.Receive(subjects.LayoutRecord(), []byte("{}")); !m.LooksForLayout() || len(m.Others()) > 0 {
		t.Errorf("behind a layout record, the worker looks for it %t, and others are %q, want it alone", m.LooksForLayout(), m.Others())
	}
}

// Who has a share: every worker of this layout that stays, and those of an earlier one for
// as long as they may take to follow.
func TestWhoHasAShare(t *testing.T) {
	t.Parallel()
	const ttl = memberTTL
	tests := []struct {
		name       string
		generation int
		leaving    bool
		ago        time.Duration // since this layout is served
		stays      bool
	}{
		{"of this layout", 2, false, 10 * ttl, true},
		{"of this layout, leaving", 2, true, 10 * ttl, false},
		{"of an earlier layout", 1, false, ttl - time.Millisecond, true},
		{"of an earlier layout, leaving", 1, true, 0, false},
		{"of a layout long before", 0, false, 0, true},
		{"of an earlier layout, for too long", 1, false, ttl, false},
		{"of a later layout", 3, false, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			m := memberOn(t, nil, now.Add(-tt.ago))
			m.Hear(wire.Heartbeat{Worker: "zz", Instance: "i", TTL: ttl.Milliseconds(), Generation: tt.generation, Leaving: tt.leaving}, now)
			want := []string{self}
			if tt.stays {
				want = append(want, "zz")
			}
			slices.Sort(want)
			if got := m.Staying(now); !slices.Equal(got, want) {
				t.Errorf("%q have a share, want %q", got, want)
			}
		})
	}
}

// All workers that heard the same agree on who has a partition, and heed nobody of another
// layout, nor partitions that there are not.
func TestWorkersAgreeOnTheHolder(t *testing.T) {
	t.Parallel()
	const partitions = 2
	tests := []struct {
		name  string
		beats []wire.Heartbeat
		want  []string // "?" for any one
	}{
		{"nobody has claimed it yet", []wire.Heartbeat{says("a", 0), says("b", 0), says("c", 0)}, []string{"?", ""}},
		{"the same claim", []wire.Heartbeat{says("a", 5), says("b", 5), says("c", 4)}, []string{"?", ""}},
		{"the last claim", []wire.Heartbeat{says("a", 5), says("b", 6), says("c", 4)}, []string{"b", ""}},
		{"the last claim is of another layout", []wire.Heartbeat{says("a", 5), of(1, says("b", 6)), says("c", 4)}, []string{"a", ""}},
		{"all are of another layout", []wire.Heartbeat{of(1, says("a", 5)), of(2, says("b", 6)), of(1, says("c", 4))}, []string{"", ""}},
		{"each another one", []wire.Heartbeat{at(1, says("a", 5)), says("b", 6), at(2, says("c", 4))}, []string{"b", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var agreed []string
			for i := range len(tt.beats) * 5 { // Others are in the order of a map.
				m := newMembers(t, tt.beats[i%len(tt.beats)].Worker, nil)
				for _, h := range tt.beats {
					m.Hear(h, time.Now())
				}
				got := m.Holders(partitions)
				if i == 0 {
					agreed = got
				}
				if !slices.Equal(got, agreed) {
					t.Fatalf("worker %s takes %q to have the partitions, others take %q", tt.beats[i%len(tt.beats)].Worker, got, agreed)
				}
			}
			for p, want := range tt.want {
				if got := agreed[p]; got != want && (want != "?" || got == "") {
					t.Errorf("holder of partition %d is %q, want %q", p, got, want)
				}
			}
		})
	}
}

// of returns a heartbeat of the layout of a generation.
func of(generation int, h wire.Heartbeat) wire.Heartbeat {
	h.Generation = generation
	return h
}

// at returns a heartbeat of a worker that has a partition alone.
func at(partition int, h wire.Heartbeat) wire.Heartbeat {
	h.Partitions = []int{partition}
	return h
}
