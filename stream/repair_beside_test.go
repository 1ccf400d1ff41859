package stream_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/topology"
)

// A repair that a worker comes before writes nothing.
func TestRepairBesideAWorker(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(*site) string{
		"after the look": func(s *site) string { return `"last_by_subj":"` + s.subjects.Checkpoint(1) + `"` },
		"at the write":   func(s *site) string { return "HPUB " + s.subjects.Checkpoint(0) + " " },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared)
			w := s.newWorkerToAlice(t)
			w.run(t)
			s.awaitAll(t, s.publishToAll(t, 0, 3))
			w.stop(t)
			c, _ := s.checkpoint(t, 0)
			c.Worker, c.Commit = "faster", "faster-1"
			s.forge(t, s.subjects.Checkpoint(0), userIn(t, 0), 4)
			s.awaitForged(t, 0)
			r := s.repairInterrupted(t, request(s), func() { s.writeCheckpoint(t, c) })
			mends, err := r.Apply(t.Context())
			if err != nil || len(mends) != 1 || !strings.Contains(mends[0].Write, "nothing") {
				t.Errorf("Apply = %v, %v, want nothing written", mends, err)
			}
			if c, _ := s.checkpoint(t, 0); c.Worker != "faster" {
				t.Errorf("checkpoint is %+v, want that of the worker", c)
			}
		})
	}
}

// repairInterrupted returns a repair that does what is given when it sends a request.
func (s *site) repairInterrupted(t *testing.T, request string, do func()) *topology.Repair {
	t.Helper()
	did := false
	url := startProxy(t, s.url, &proxy{fromClient: func(frame []byte) ([]byte, verdict) {
		if !did && bytes.Contains(frame, []byte(request)) {
			did = true
			do()
		}
		return frame, pass
	}})
	r, err := topology.NewRepair(natstest.JetStream(t, natstest.Connect(t, url)), topology.RepairConfig{Prefix: s.config.Streams.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A repair does not write the layout record over that of a command that begins meanwhile.
func TestRepairBesideACommand(t *testing.T) {
	t.Parallel()
	s := newSite(t, shared)
	s.publishToAll(t, 0, 1)
	s.forgeLayout(t, 2)
	afterTheLook := `"last_by_subj":"` + s.subjects.Checkpoint(0) + `"`
	r := s.repairInterrupted(t, afterTheLook, func() { s.recordChange(t) })
	mends, err := r.Apply(t.Context())
	if err != nil || len(mends) != 1 || !strings.Contains(mends[0].Write, "nothing") {
		t.Errorf("Apply = %v, %v, want nothing written", mends, err)
	}
	if r := s.status(t).Repartition; r == nil || r.To != 6 {
		t.Errorf("status shows the change %+v, want that of the command", r)
	}
}
