package stream_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// A change of partitions begins just when a worker that starts has read that there is none:
// it serves the partitions from before.
func TestRepartitionBeginsWhileAWorkerStarts(t *testing.T) {
	t.Parallel()
	for name, nth := range map[string]int{"topology": 1, "layout": 2, "watch": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRepartitionBeginsAt(t, nth)
		})
	}
}

// testRepartitionBeginsAt begins a change when a worker has looked for the layout record
// for the nth time.
func testRepartitionBeginsAt(t *testing.T, nth int) {
	t.Helper()
	s := newSite(t, shared)
	s.publishToAll(t, 0, 3)
	var inbox []byte
	looks := 0
	s.url = startProxy(t, s.url, &proxy{
		fromClient: func(frame []byte) ([]byte, verdict) {
			get := bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.MSG.GET."+s.subjects.WorkersStream()+" "))
			if get && bytes.Contains(frame, []byte(`"last_by_subj":"`+s.subjects.LayoutRecord()+`"`)) {
				if looks++; looks == nth {
					inbox = bytes.Clone(bytes.Fields(frame)[2])
				}
			}
			return frame, pass
		},
		fromServer: func(frame []byte) ([]byte, verdict) {
			if fields := bytes.Fields(frame); inbox != nil && len(fields) > 1 && bytes.Equal(fields[1], inbox) {
				inbox = nil
				if _, err := s.repartition(t, 6, time.Nanosecond); err == nil {
					t.Error("Run = nil, want that partitions are left")
				}
			}
			return frame, pass
		},
	})
	w := s.newWorker(t, []routing.Registration{registration(toEach(t, alice))})
	w.run(t)
	eventually(t, "looks", func() bool { return s.status(t).Repartition != nil })
	last := s.publishToAll(t, 3, 3)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last)
}

// A command is gone when it has written the position of one new partition, and the record
// of the change is replaced: workers do not take the others for positioned.
func TestForgedLayoutRecordAmongPositions(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	w := s.newWorkerToAlice(t)
	w.run(t)
	s.awaitAll(t, s.publishToAll(t, 0, 3))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := topology.NewRepartition(s.js, topology.RepartitionConfig{
		Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: eventTimeout,
		Progress: func(p topology.Progress) {
			if p == (topology.Progress{Step: topology.Position, Done: 1, Total: 6}) {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(ctx); err == nil {
		t.Fatal("Run = nil, want that it was cut short")
	}
	w.stop(t)
	last := s.publishToAll(t, 3, 3) // which wait
	s.forgeLayout(t, 7)
	s.config.Worker.StartTimeout = time.Second
	started := s.newWorkerToAlice(t)
	started.run(t)
	if err := started.wait(t); err == nil || !strings.Contains(err.Error(), "topology repair") {
		t.Fatalf("Run = %v, want that it is not known what to serve", err)
	}
	s.repair(t, 1, "")
	s.config.Worker.StartTimeout = eventTimeout
	w = s.newWorkerToAlice(t)
	w.run(t)
	s.mustRepartition(t, 6, wire.Layout{Generation: 1, Partitions: 6})
	s.awaitCommitted(t, wire.Layout{Generation: 1, Partitions: 6})
	w.stop(t)
	wantEachOnce(t, s.deliveries(t), last+1) // The forger published one more.
}
