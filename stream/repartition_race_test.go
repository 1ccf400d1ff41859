package stream_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/topology"
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
	drained := topology.Progress{Step: topology.Drain, Done: sharedPartitions, Total: sharedPartitions}
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
	r, err := topology.NewRepartition(js, topology.RepartitionConfig{Prefix: s.config.Streams.Prefix, Partitions: 6, Wait: time.Nanosecond})
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
	if !errors.Is(err, topology.ErrRefused) || stores != 1 {
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
