package stream_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/status"
)

// wantProblem wants exactly one problem, of a kind and with every one of parts in its
// text.
func wantProblem(t *testing.T, problems []diagnosis.Problem, kind diagnosis.Kind, parts ...string) {
	t.Helper()
	if len(problems) != 1 || problems[0].Kind != kind {
		t.Fatalf("problems are %q, want one of kind %s", problems, kind)
	}
	for _, part := range parts {
		if !strings.Contains(problems[0].Text, part) {
			t.Errorf("the problem is %q, want %q in it", problems[0].Text, part)
		}
	}
}

func (s *site) diagnose(t *testing.T, opts ...diagnosis.Option) []diagnosis.Problem {
	t.Helper()
	problems, err := diagnosis.Run(t.Context(), s.nc, s.config.Streams.Prefix, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

// The status of a deployment without one of its streams says so, and holds what the
// others tell.
func TestStatusWithAStreamMissing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stream  string
		says    string
		text    string // of the warning
		warns   int
		pending bool // is known
		workers bool // are known
		letters bool // are known
	}{
		{"PRESENCE_UPDATES", "updates are refused", "topology apply", 1, false, true, true},
		{"PRESENCE_DELIVERIES", "updates wait", "topology apply", 1, false, true, true},
		{"PRESENCE_DEAD", "streams.deliveries.max_age", "topology apply", 1, true, true, false},
		{"PRESENCE_STATE", "send_online_presence", "topology apply", 1, true, true, true},
		{"KV_PRESENCE_WORKERS", "cannot share the partitions", "topology apply", 1, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.stream, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, shared, func(c *stream.Config) { c.Worker.TTL, c.Worker.StopTimeout = time.Minute, 100*time.Millisecond })
			s.start(t, toEach(t, alice))
			s.publishToAll(t, 0, 2)
			s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "nonsense", nil)
			s.awaitStatus(t, "dead letter", func(status status.Status) bool { return len(status.DeadLetters) > 0 })
			if err := s.js.DeleteStream(t.Context(), tt.stream); err != nil {
				t.Fatal(err)
			}
			status := s.status(t)
			wantProblem(t, status.Problems, diagnosis.StreamMissing, "stream "+tt.stream+" is missing", tt.says)
			if warnings := status.Warnings(time.Hour); !slices.ContainsFunc(warnings, func(w string) bool {
				return strings.HasPrefix(w, "Stream "+tt.stream+" is missing: ") && strings.HasSuffix(w, ".")
			}) {
				t.Errorf("warnings are %q, want one of %s", warnings, tt.stream)
			}
			if got := len(status.Workers) == 1; got != tt.workers || status.UnknownWorkers == tt.workers {
				t.Errorf("workers are %+v, unknown: %t, want them known: %t", status.Workers, status.UnknownWorkers, tt.workers)
			}
			if (status.DeadLetters != nil) != tt.letters {
				t.Errorf("dead letters are %v, want them known: %t", status.DeadLetters, tt.letters)
			}
			if len(status.Partitions) != sharedPartitions {
				t.Fatalf("%d partitions are shown, want %d", len(status.Partitions), sharedPartitions)
			}
			for _, p := range status.Partitions {
				if p.Unknown == tt.pending {
					t.Errorf("partition is %+v, want it known: %t", p, tt.pending)
				}
			}
		})
	}
}

func TestDiagnosisWithoutStates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if got := s.diagnose(t); len(got) > 0 {
		t.Errorf("problems are %q, want none", got)
	}
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s.diagnose(t), diagnosis.StreamMissing, "PRESENCE_STATE")
	if got := s.diagnose(t, diagnosis.WithoutStates()); len(got) > 0 {
		t.Errorf("problems are %q, want none of a stream that is switched off", got)
	}
}

// Whatever an error of a timeout stands for, it is called what it is.
func TestExplainSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	gone := &nats.Msg{Subject: "presence.update.example%2Ecom.bob", Data: []byte("{}")}
	tests := []struct {
		name string
		harm func(*testing.T, *site)
		kind diagnosis.Kind
		want string
	}{
		{"server is gone", func(t *testing.T, s *site) {
			t.Helper()
			s.server.Shutdown()
			eventually(t, "end of the connection", func() bool { return !s.nc.IsConnected() })
		}, diagnosis.NotConnected, "not connected to NATS"},
		{"JetStream is disabled", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.server.DisableJetStream(); err != nil {
				t.Fatal(err)
			}
		}, diagnosis.JetStreamDisabled, "NATS answers and JetStream does not"},
		{"stream is missing", func(t *testing.T, s *site) {
			t.Helper()
			if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
				t.Fatal(err)
			}
		}, diagnosis.StreamMissing, "stream PRESENCE_UPDATES is missing"},
		{"no streams", func(t *testing.T, s *site) {
			t.Helper()
			for name := range s.js.StreamNames(t.Context()).Name() {
				if err := s.js.DeleteStream(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
		}, diagnosis.StreamMissing, "none of the streams is there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			tt.harm(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := s.js.PublishMsg(ctx, gone)
			if err == nil {
				t.Fatal("an update is stored")
			}
			explained := diagnosis.Explain(t.Context(), s.nc, s.config.Streams.Prefix, err)
			p, ok := errors.AsType[diagnosis.Problem](explained)
			if !ok || !errors.Is(explained, err) {
				t.Fatalf("Explain = %v, want a problem that wraps %v", explained, err)
			}
			wantProblem(t, []diagnosis.Problem{p}, tt.kind, tt.want)
		})
	}
}

func TestExplainLeavesAloneWhatSaysItself(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	plain := errors.New("permission denied")
	if got := diagnosis.Explain(t.Context(), s.nc, s.config.Streams.Prefix, plain); got != plain { //nolint:errorlint // It is to be the same one.
		t.Errorf("Explain = %v, want %v as it is", got, plain)
	}
}

// A replica and a leader that are away are called that, on servers that are killed.
func TestDiagnosisOfACluster(t *testing.T) {
	t.Parallel()
	servers := natstest.RunCluster(t, 3)
	config := testConfig()
	config.Streams.Replicas = 3
	s := newSiteOn(t, servers[0], config)
	eventually(t, "all replicas", func() bool { return len(s.diagnose(t)) == 0 })
	servers[2].Shutdown()
	var found []diagnosis.Problem
	eventually(t, "replicas that are away", func() bool {
		found = s.diagnose(t)
		return len(found) == 1 && found[0].Kind == diagnosis.ReplicaAway
	})
	wantProblem(t, found, diagnosis.ReplicaAway, "server "+servers[2].Options().Name+" is away, and with it 5 replicas of PRESENCE_UPDATES, ")
	if found[0].Stops {
		t.Errorf("%q stops the router, want that it goes on", found[0])
	}
	servers[1].Shutdown()
	eventually(t, "loss of the leaders", func() bool {
		found = s.diagnose(t)
		return len(found) > 0 && found[0].Stops && (found[0].Kind == diagnosis.NoLeader || found[0].Kind == diagnosis.JetStreamDisabled)
	})
	if !strings.Contains(found[0].Text, "leader") {
		t.Errorf("the problem is %q, want that there is no leader", found[0])
	}
}
