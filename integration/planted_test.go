//go:build planted

package integration_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

const (
	plantedCampaign = 10 * time.Second
	plantedFast     = 4 * time.Second  // of fast ingest: what is lost with one message shows at once
	plantedPatience = 15 * time.Second // some mistakes keep workers from ever catching up
	plantedHurry    = 5 * time.Second
)

// TestPlanted runs workers with a mistake that a build tag plants in them: the
// checker has to find what it breaks.
func TestPlanted(t *testing.T) {
	t.Parallel()
	kill := nemesis{"kill a worker", processes, killWorker}
	stop := nemesis{"stop a worker for longer than its TTL", processes, stopWorker}
	cut := nemesis{"cut a worker off", links, cutOff}
	away := nemesis{"break a worker's connections", links, breakConnections}
	amid := amidNemeses()
	killIn, holdIn, breakIn, loseIn := amid[0], amid[1], amid[2], amid[3]
	full := nemesis{"fill the deliveries stream", servers, fillDeliveries}
	atomic := campaign{window: plantedCampaign, patience: plantedPatience}
	purge := nemesis{"purge updates", streams, purgeUpdates}
	lonely := campaign{servers: 1, window: plantedCampaign, patience: plantedHurry}
	fast := campaign{window: plantedFast, patience: plantedHurry, replicas: 1, amid: true}
	tests := []struct {
		tag      string
		campaign campaign
		by       []nemesis // that bring it out
		want     []integration.Fault
	}{
		{"planted_blind_commit", atomic, []nemesis{stop, cut}, []integration.Fault{integration.Doubled, integration.Reordered}},
		{"planted_checkpoint_apart", atomic, []nemesis{stop, away}, []integration.Fault{integration.Doubled}},
		{"planted_checkpoint_again", atomic, []nemesis{kill}, []integration.Fault{integration.Doubled}},
		{"planted_outcome_unread", atomic, []nemesis{away}, []integration.Fault{integration.Doubled}},
		{"planted_purge_skips", lonely, []nemesis{kill, purge}, []integration.Fault{integration.Lost}},
		{"planted_gap_allowed", fast, []nemesis{loseIn}, []integration.Fault{integration.Lost}},
		{"planted_batch_left_open", fast, []nemesis{holdIn}, []integration.Fault{integration.Doubled}},
		{"planted_outcome_assumed", fast, []nemesis{breakIn}, []integration.Fault{integration.Lost}},
		{"planted_tail_cut_short", fast, []nemesis{killIn}, []integration.Fault{integration.Doubled}},
		{"planted_rest_too_short", fast, []nemesis{full}, []integration.Fault{integration.Lost}},
		{"planted_unit_overtakes", fast, []nemesis{full}, []integration.Fault{integration.Reordered}},
	}
	for _, tt := range tests {
		t.Run(tt.tag, func(t *testing.T) {
			e := newEffort(t)
			c := tt.campaign
			c.name, c.nemeses, c.each = tt.tag, tt.by, true
			r := c.run(t, e, buildPlanted(t, tt.tag))
			t.Log(r)
			for _, fault := range tt.want {
				if r.verdict.Faults[fault] == 0 {
					t.Errorf("the checker found nothing that is %s", fault)
				}
			}
		})
	}
}

// fillDeliveries has no room in the deliveries stream for a while, then as much as before.
func fillDeliveries(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	found, err := f.js.Stream(ctx, f.subjects.DeliveriesStream())
	if err != nil {
		return err
	}
	config := found.CachedInfo().Config
	before := config.MaxBytes
	config.MaxBytes = int64(found.CachedInfo().State.Bytes) + 64<<10 //nolint:gosec // A stream of a test is small.
	if _, err := f.js.UpdateStream(ctx, config); err != nil {
		return err
	}
	after(ctx, f.tuning.ttl/2+upTo(numbers, f.tuning.ttl))
	config.MaxBytes = before
	_, err = f.js.UpdateStream(ctx, config)
	return err
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
