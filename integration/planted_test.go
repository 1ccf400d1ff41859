//go:build planted

package integration_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/presence-router/presence-router/integration"
)

// TestPlanted runs workers with a mistake that a build tag plants in them: the
// checker has to find what it breaks.
func TestPlanted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		tag  string
		want []integration.Fault // one of them
	}{
		{"planted_blind_commit", []integration.Fault{integration.Doubled, integration.Lost}},
		{"planted_checkpoint_apart", []integration.Fault{integration.Doubled, integration.Lost}},
		{"planted_checkpoint_again", []integration.Fault{integration.Doubled}},
		{"planted_outcome_unread", []integration.Fault{integration.Doubled, integration.Lost}},
	}
	for _, tt := range tests {
		t.Run(tt.tag, func(t *testing.T) {
			e := newEffort(t)
			r := campaign{name: tt.tag, nemeses: strikers(), window: shortCampaign, each: true}.run(t, e, buildPlanted(t, tt.tag))
			t.Log(r)
			for _, fault := range tt.want {
				if r.verdict.Faults[fault] > 0 {
					return
				}
			}
			t.Errorf("the checker has not found the mistake of %s: want one of %v", tt.tag, tt.want)
		})
	}
}

// strikers leaves out those that strike servers, which take long and bring out
// nothing that the others do not.
func strikers() []nemesis {
	return slices.DeleteFunc(nemeses(), func(n nemesis) bool { return n.lane == servers })
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
