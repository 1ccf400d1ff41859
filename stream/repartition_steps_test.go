package stream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// plantCheckpoint stores a checkpoint of a partition of the layout of a generation, as a
// worker does that is not there.
func (s *site) plantCheckpoint(t *testing.T, generation, partition int, worker string, epoch int64) {
	t.Helper()
	c := wire.Checkpoint{Epoch: epoch, Created: s.updatesStream(t).CachedInfo().Created, Worker: worker, Commit: worker + "-1"}
	s.publishRaw(t, s.subjects.In(generation).Checkpoint(partition), string(wire.AppendCheckpoint(nil, c)), nats.Header{"Nats-Rollup": {"sub"}})
}

// plantForeign stores a message in place of such a checkpoint.
func (s *site) plantForeign(t *testing.T, generation, partition int) {
	t.Helper()
	s.publishRaw(t, s.subjects.In(generation).Checkpoint(partition), `{"stream":"PRESENCE_UPDATES","seq":1}`, nil)
}

func (s *site) plantRecord(t *testing.T, record wire.LayoutRecord) {
	t.Helper()
	data, err := record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.publishRaw(t, s.subjects.LayoutRecord(), string(data), nil)
}

// layoutRecord returns the layout record, which there is.
func (s *site) layoutRecord(t *testing.T) wire.LayoutRecord {
	t.Helper()
	m, err := s.stream(t, s.subjects.WorkersStream()).GetLastMsgForSubject(t.Context(), s.subjects.LayoutRecord())
	if err != nil {
		t.Fatal(err)
	}
	record, err := wire.DecodeLayoutRecord(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// changeTo returns the record of a change that began before anything was published.
func (s *site) changeTo(t *testing.T, from, to wire.Layout) wire.LayoutRecord {
	t.Helper()
	return wire.LayoutRecord{Serving: from, Move: &wire.LayoutMove{To: to, Created: s.updatesStream(t).CachedInfo().Created, Replicas: 1}}
}

// What a change to 6 partitions begins with, whatever is left of others: the partitions
// that updates are stored in, and a generation that nothing is left of.
func TestRepartitionBegins(t *testing.T) {
	t.Parallel()
	first := wire.Layout{Partitions: sharedPartitions}
	six := func(generation int) wire.Layout { return wire.Layout{Generation: generation, Partitions: 6} }
	tests := []struct {
		name    string
		prepare func(*testing.T, *site)
		from    wire.Layout
		to      wire.Layout
		goesOn  bool // with a change that began before
	}{
		{"nothing is left", func(*testing.T, *site) {}, first, six(1), false},
		{"checkpoints of this layout", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 0, 3, "gone", 1)
		}, first, six(1), false},
		{"checkpoints of a later layout", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 5, "gone", 1)
		}, first, six(2), false},
		{"checkpoints of several later layouts", func(t *testing.T, s *site) {
			t.Helper()
			for _, generation := range []int{0, 5, 2, 7, 1} {
				s.plantCheckpoint(t, generation, 1, "gone", 1)
			}
		}, first, six(8), false},
		{"foreign messages of later layouts", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 2, 1, "gone", 1)
			s.plantForeign(t, 2, 0)
			s.plantForeign(t, 9, 1)
		}, first, six(3), false},
		{"a later layout is stored in than has checkpoints", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 0, "gone", 1)
			s.storeIn(t, wire.Layout{Generation: 4, Partitions: 3})
		}, wire.Layout{Generation: 4, Partitions: 3}, six(5), false},
		{"a change between other layouts", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, wire.Layout{Generation: 1, Partitions: 8}, six(2)))
		}, first, six(1), false},
		{"a change between other layouts that have checkpoints", func(t *testing.T, s *site) {
			t.Helper()
			s.plantCheckpoint(t, 1, 7, "gone", 1)
			s.plantCheckpoint(t, 2, 0, "topology repartition", 1)
			s.plantRecord(t, s.changeTo(t, wire.Layout{Generation: 1, Partitions: 8}, six(2)))
		}, first, six(3), false},
		{"a record of another layout", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, wire.LayoutRecord{Serving: six(3)})
		}, first, six(1), false},
		{"the same change is recorded", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, six(3)))
		}, first, six(3), true},
		{"the same change is under way", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, six(3)))
			s.storeIn(t, six(3))
		}, first, six(3), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			for p := range sharedPartitions { // At least one of them waits for a worker, in any layout.
				s.publish(t, userIn(t, p), 1)
			}
			tt.prepare(t, s)
			for p := range sharedPartitions {
				s.publish(t, userIn(t, p), 2)
			}
			info := s.updatesStream(t).CachedInfo()
			if done, err := s.repartition(t, 6, time.Nanosecond); err == nil {
				t.Errorf("Run = %+v, want that partitions are left", done)
			}
			want := wire.LayoutMove{To: tt.to, Sequence: info.State.LastSeq, Time: info.State.LastTime, Created: info.Created, Replicas: 1}
			if tt.goesOn {
				want.Sequence, want.Time = 0, time.Time{}
			}
			if got := s.layoutRecord(t); got.Serving != tt.from || got.Move == nil || *got.Move != want {
				t.Errorf("record is %+v of %+v, want a change from %v, %+v", got.Serving, got.Move, tt.from, want)
			}
			if r := s.status(t).Repartition; r == nil {
				t.Error("status shows no change, want the one that began")
			}
		})
	}
}

// A change to another number is refused while one is under way, and where nothing is to be
// changed, nothing is recorded.
func TestRepartitionThatDoesNotBegin(t *testing.T) {
	t.Parallel()
	first, five := wire.Layout{Partitions: sharedPartitions}, wire.Layout{Generation: 1, Partitions: 5}
	tests := []struct {
		name       string
		prepare    func(*testing.T, *site)
		partitions int
		want       string // of the error, "" for none
	}{
		{"the same number", func(*testing.T, *site) {}, sharedPartitions, ""},
		{"the same number, of a later layout", func(t *testing.T, s *site) {
			t.Helper()
			s.storeIn(t, five)
		}, 5, ""},
		{"another change is recorded", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, five))
		}, 6, "topology repartition 5"},
		{"another change is under way", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, five))
			s.storeIn(t, five)
		}, 6, "topology repartition 5"},
		{"back while a change is under way", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, five))
		}, sharedPartitions, "topology repartition 5"},
		{"no record, but a message", func(t *testing.T, s *site) {
			t.Helper()
			s.publishRaw(t, s.subjects.LayoutRecord(), `{"stream":"PRESENCE_UPDATES","seq":1}`, nil)
		}, 6, "topology repair"},
		{"a record of the layout before", func(t *testing.T, s *site) {
			t.Helper()
			s.storeIn(t, five)
			s.plantRecord(t, wire.LayoutRecord{Serving: first})
		}, 6, "topology repair"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			tt.prepare(t, s)
			before, layout := s.layoutRevision(t), s.updatesStream(t).CachedInfo().Config.SubjectTransform.Destination
			done, err := s.repartition(t, tt.partitions, time.Nanosecond)
			if tt.want == "" && (err != nil || done.Changed) || tt.want != "" && (!errors.Is(err, topology.ErrRefused) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Run = %+v, %v, want no change, and the error %q", done, err, tt.want)
			}
			if after := s.layoutRevision(t); after != before {
				t.Errorf("record is message %d, want it to stay message %d", after, before)
			}
			if after := s.updatesStream(t).CachedInfo().Config.SubjectTransform.Destination; after != layout {
				t.Errorf("updates are stored as %s, want %s as before", after, layout)
			}
		})
	}
}

// Every new partition begins where the stream was before the change, in the newest epoch
// there is, whatever stands in place of its checkpoint, unless a worker serves it.
func TestRepartitionPositions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		prepare func(t *testing.T, s *site, epoch int64) // once the change has begun
		later   int64                                    // than the epoch in which the stream was created
		refused bool
	}{
		{"nothing", func(*testing.T, *site, int64) {}, 0, false},
		{"an earlier epoch", func(t *testing.T, s *site, epoch int64) {
			t.Helper()
			s.plantCheckpoint(t, 0, 0, "gone", epoch-10)
		}, 0, false},
		{"a later epoch of the last partition", func(t *testing.T, s *site, epoch int64) {
			t.Helper()
			s.plantCheckpoint(t, 0, 0, "gone", epoch+10)
			s.plantCheckpoint(t, 0, sharedPartitions-1, "gone", epoch+20)
		}, 20, false},
		{"a later epoch of no partition", func(t *testing.T, s *site, epoch int64) {
			t.Helper()
			s.plantCheckpoint(t, 0, sharedPartitions, "gone", epoch+20)
		}, 0, false},
		{"a position that was written before", func(t *testing.T, s *site, epoch int64) {
			t.Helper()
			s.plantCheckpoint(t, 1, 5, "topology repartition", epoch+20)
		}, 0, false},
		{"a foreign message", func(t *testing.T, s *site, _ int64) {
			t.Helper()
			s.plantForeign(t, 1, 5)
		}, 0, false},
		{"a checkpoint of a worker", func(t *testing.T, s *site, epoch int64) {
			t.Helper()
			s.plantCheckpoint(t, 1, 5, "gone", epoch)
		}, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			s.publishToAll(t, 0, 1)
			if err := s.updatesStream(t).Purge(t.Context()); err != nil { // so that no worker is waited for
				t.Fatal(err)
			}
			info := s.updatesStream(t).CachedInfo()
			epoch := info.Created.UnixMilli()
			err := s.repartitionWith(t, topology.Progress{Step: topology.Switch, Total: 6}, func() { tt.prepare(t, s, epoch) })
			if refused := errors.Is(err, topology.ErrRefused); refused != tt.refused || !refused && err != nil {
				t.Fatalf("Run = %v, want it refused %t", err, tt.refused)
			}
			next := s.subjects.In(1)
			if tt.refused {
				if m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), next.Checkpoint(5)); err != nil || !strings.Contains(string(m.Data), `"gone"`) {
					t.Errorf("checkpoint is %v, %v, want that of the worker", m, err)
				}
				return
			}
			for p := range 6 {
				m, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), next.Checkpoint(p))
				if err != nil {
					t.Fatal(err)
				}
				got, err := wire.DecodeCheckpoint(m.Data)
				got.Commit = ""
				want := wire.Checkpoint{Epoch: epoch + tt.later, Sequence: info.State.LastSeq, Time: info.State.LastTime, Created: info.Created, Worker: "topology repartition"}
				if err != nil || got != want {
					t.Errorf("partition %d begins at %+v, %v, want %+v", p, got, err, want)
				}
			}
		})
	}
}

// At its end a change has workers serve the new layout, unless that has been done, or the
// record tells of anything else.
func TestRepartitionAnnounces(t *testing.T) {
	t.Parallel()
	first, next := wire.Layout{Partitions: sharedPartitions}, wire.Layout{Generation: 1, Partitions: 6}
	tests := []struct {
		name    string
		replace func(*testing.T, *site) // the record, once all positions are written
		fails   bool
	}{
		{"the change", func(*testing.T, *site) {}, false},
		{"its end", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, wire.LayoutRecord{Serving: next})
		}, false},
		{"no change", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, wire.LayoutRecord{Serving: first})
		}, true},
		{"another change", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, next, wire.Layout{Generation: 2, Partitions: 8}))
		}, true},
		{"a change to a later layout of as many", func(t *testing.T, s *site) {
			t.Helper()
			s.plantRecord(t, s.changeTo(t, first, wire.Layout{Generation: 2, Partitions: 6}))
		}, true},
		{"a message that is none", func(t *testing.T, s *site) {
			t.Helper()
			s.publishRaw(t, s.subjects.LayoutRecord(), `{"stream":"PRESENCE_UPDATES","seq":1}`, nil)
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			var replaced uint64
			err := s.repartitionWith(t, topology.Progress{Step: topology.Position, Done: 6, Total: 6}, func() {
				tt.replace(t, s)
				replaced = s.layoutRevision(t)
			})
			if (err != nil) != tt.fails || err != nil && !errors.Is(err, topology.ErrRefused) {
				t.Errorf("Run = %v, want it refused %t", err, tt.fails)
			}
			if tt.fails {
				if after := s.layoutRevision(t); after != replaced {
					t.Errorf("record is message %d, want it left alone as message %d", after, replaced)
				}
				return
			}
			s.awaitLayout(t, next)
		})
	}
}
