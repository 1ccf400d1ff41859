package stream_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// Of two commands at once the slower one leaves the positions alone that workers have
// come from by then.
func TestRepartitionTwiceAtOnce(t *testing.T) {
	t.Parallel()
	to := wire.Layout{Generation: 1, Partitions: 6}
	s := newSite(t, shared)
	w := s.start(t, toEach(t, alice))
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	var last uint64
	drained := stream.Progress{Step: stream.Drain, Done: sharedPartitions, Total: sharedPartitions}
	err := s.repartitionWith(t, drained, func() {
		s.mustRepartition(t, to.Partitions, to)
		last = s.publishToAll(t, 3, 3)
		s.awaitCommitted(t, to)
	})
	if err == nil || !strings.Contains(err.Error(), "another command") {
		t.Errorf("Run = %v, want that another command was faster", err)
	}
	w.stop(t)
	for p := range to.Partitions {
		c, err := s.deliveriesStream(t).GetLastMsgForSubject(t.Context(), s.subjects.In(to.Generation).Checkpoint(p))
		if err != nil {
			t.Fatal(err)
		}
		if d, err := wire.DecodeCheckpoint(c.Data); err != nil || d.Worker != w.ID() {
			t.Errorf("checkpoint of partition %d is %+v, %v, want that of worker %s", p, d, err, w.ID())
		}
	}
	wantEachOnce(t, s.deliveries(t), last)
}

// repartitionThrough changes the number of partitions to 6 through a proxy, and waits for
// no worker.
func (s *site) repartitionThrough(t *testing.T, p *proxy) error {
	t.Helper()
	js := natstest.JetStream(t, natstest.Connect(t, startProxy(t, s.url, p)))
	r, err := stream.NewRepartition(js, stream.RepartitionConfig{Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(t.Context())
	return err
}

// Another command begins a change when this one is about to: this one begins none.
func TestTwoRepartitionsBeginAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.publishToAll(t, 0, 1)
	stores := 0
	err := s.repartitionThrough(t, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if bytes.HasPrefix(frame, []byte("HPUB "+s.subjects.LayoutRecord()+" ")) {
			if stores++; stores == 1 {
				if _, err := s.repartition(t, 8, time.Nanosecond); err == nil {
					t.Error("Run of the faster command = nil, want that it waits for workers")
				}
			}
		}
		return frame, pass
	}})
	if !errors.Is(err, stream.ErrRefused) || stores != 1 {
		t.Errorf("Run = %v with %d tries, want it refused at the first", err, stores)
	}
	if r := s.status(t).Repartition; r == nil || r.To != 8 {
		t.Errorf("status shows the change %+v, want that to 8 partitions", r)
	}
}

// That the server does not tell which update is the last of a partition does not mean
// that there is none.
func TestRepartitionWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	last := s.publishToAll(t, 0, 1)
	err := s.repartitionThrough(t, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		for p := range sharedPartitions {
			// The server refuses a request with a field that it does not know.
			wanted := `_by_subj":"` + s.subjects.PartitionUpdates(p) + `"`
			refused := strings.Replace(wanted, "subj", "none", 1)
			frame = bytes.Replace(frame, []byte(wanted), []byte(refused), 1)
		}
		return frame, pass
	}})
	if err == nil || !strings.Contains(err.Error(), "read stream "+s.subjects.UpdatesStream()) {
		t.Errorf("Run = %v, want that it does not know what is committed", err)
	}
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// Workers serve the layout before until a change has ended, also where updates are stored
// in the new one and wait.
func TestLayoutThatIsServed(t *testing.T) {
	t.Parallel()
	before, after, other := wire.Layout{Generation: 1, Partitions: 4}, wire.Layout{Generation: 2, Partitions: 6}, wire.Layout{Generation: 7, Partitions: 3}
	change := wire.LayoutRecord{Serving: before, Move: &wire.LayoutMove{To: after}}
	tests := []struct {
		name            string
		stored, want    wire.Layout
		record          wire.LayoutRecord
		underWay, waits bool
	}{
		{"no record", other, other, wire.LayoutRecord{}, false, false},
		{"no change", before, before, wire.LayoutRecord{Serving: before}, false, false},
		{"a change that is recorded", before, before, change, true, false},
		{"a change that updates wait for", after, before, change, true, true},
		{"a change that has ended", after, after, wire.LayoutRecord{Serving: after}, false, false},
		{"a change of a stream that is gone", other, other, change, false, false},
		{"a change of the first layout", wire.Layout{Partitions: 4}, wire.Layout{Partitions: 4}, change, false, false},
		{"a change from another number", wire.Layout{Generation: 1, Partitions: 6}, wire.Layout{Generation: 1, Partitions: 6}, change, false, false},
		{"a change to another number", wire.Layout{Generation: 2, Partitions: 4}, wire.Layout{Generation: 2, Partitions: 4}, change, false, false},
	}
	for _, tt := range tests {
		if got := stream.Serving(tt.stored, tt.record); got != tt.want {
			t.Errorf("%s: workers serve %v, want %v", tt.name, got, tt.want)
		}
		if underWay, waits := stream.UnderWay(tt.stored, tt.record); underWay != tt.underWay || waits != tt.waits {
			t.Errorf("%s: it is under way %t, and updates wait %t, want %t, %t", tt.name, underWay, waits, tt.underWay, tt.waits)
		}
	}
}
