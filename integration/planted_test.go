//go:build planted

package integration_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

const plantedCampaign = 10 * time.Second

// TestPlanted runs workers with a mistake that a build tag plants in them: the
// checker has to find what it breaks.
func TestPlanted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tag  string
		by   []nemesis // that bring it out
		want []integration.Fault
	}{
		{
			tag:  "planted_blind_commit",
			by:   []nemesis{{"stop a worker for longer than its TTL", processes, stopWorker}, {"cut a worker off", links, cutOff}},
			want: []integration.Fault{integration.Doubled, integration.Reordered},
		},
		{
			tag:  "planted_checkpoint_apart",
			by:   []nemesis{{"stop a worker for longer than its TTL", processes, stopWorker}, {"break a worker's connections", links, breakConnections}},
			want: []integration.Fault{integration.Doubled},
		},
		{
			tag:  "planted_checkpoint_again",
			by:   []nemesis{{"kill a worker", processes, killWorker}},
			want: []integration.Fault{integration.Doubled},
		},
		{
			tag:  "planted_outcome_unread",
			by:   []nemesis{{"break a worker's connections", links, breakConnections}},
			want: []integration.Fault{integration.Doubled},
		},
	}
	for _, tt := range tests {
		t.Run(tt.tag, func(t *testing.T) {
			e := newEffort(t)
			r := campaign{name: tt.tag, nemeses: tt.by, window: plantedCampaign, each: true}.run(t, e, buildPlanted(t, tt.tag))
			t.Log(r)
			for _, fault := range tt.want {
				if r.verdict.Faults[fault] == 0 {
					t.Errorf("the checker found nothing that is %s", fault)
				}
			}
		})
	}
}

func buildPlanted(t *testing.T, tag string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "router-worker")
	command := exec.CommandContext(t.Context(), "go", "build", "-tags", tag, "-o", binary, "../cmd/router-worker") //nolint:gosec // The tags are our own.
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build router-worker with %s: %v\n%s", tag, err, output)
	}
	return binary
}
