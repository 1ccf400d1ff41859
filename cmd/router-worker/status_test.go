package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
)

// reportedStatus holds the names of status --json, which programs rely on.
type reportedStatus struct {
	Time       string
	ConfigHash string `json:"config_hash"`
	Workers    []struct {
		ID                  string
		Version             string
		ConfigHash          string `json:"config_hash"`
		ConfigDiffers       *bool  `json:"config_differs"`
		Started             string
		Leaving             *bool
		HeardAgo            *float64 `json:"heard_seconds_ago"`
		Partitions          []int
		UpdatesPerSecond    *float64 `json:"updates_per_second"`
		DeliveriesPerSecond *float64 `json:"deliveries_per_second"`
		NotLocal            uint64   `json:"not_local_updates"`
		LastNotLocal        string   `json:"last_not_local"`
		LostUpdates         uint64   `json:"lost_updates"`
		LastLost            string   `json:"last_lost"`
		StreamsDiffer       []struct {
			Setting, Have, Configured string
			Streams                   []string
		} `json:"streams_differ"`
	}
	Partitions []struct {
		Partition        int
		Owner            string
		CommittedBy      string `json:"committed_by"`
		Epoch            int64
		Sequence         uint64
		Pending          *uint64
		OldestPending    *float64 `json:"oldest_pending_seconds"`
		UpdatesPerSecond *float64 `json:"updates_per_second"`
		Resumes          *bool
		Unknown          bool
	}
	DeadLetters map[string]int `json:"dead_letters"`
	NewestDead  *struct {
		Reason, Time string
	} `json:"newest_dead_letter"`
	Repartition *struct {
		From, To      int
		Began         string
		Waiting       *uint64
		OldestWaiting *float64 `json:"oldest_waiting_seconds"`
	}
	Problems []struct {
		Problem, Stream, Text string
		Stops                 *bool
	}
	UnknownWorkers bool `json:"unknown_workers"`
	Warnings       []string
}

func readStatus(t *testing.T, env []string) (status reportedStatus) {
	t.Helper()
	text := expect(t, 0, "", env, "status", "--json").stdout.String()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&status); err != nil || strings.Count(text, "\n") != 1 {
		t.Fatalf("status --json says %s, want one line: %v", text, err)
	}
	return status
}

func TestStatusWithoutWorkers(t *testing.T) {
	t.Parallel()
	env := withStreams(t)
	text := expect(t, 0, "", env, "status").stdout.String()
	for _, want := range []string{
		"  0 workers, 4 partitions, 0.0 updates/s, 0 pending, no dead letters\n! No worker is running.\n! No worker has partitions 0, 1, 2, 3.\n\nPARTITION  OWNER ",
		"\n3          none   0         0        -       0.0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("status says %q, want %q in it", text, want)
		}
	}
	status := readStatus(t, env)
	if status.Workers == nil || status.DeadLetters == nil || len(status.Warnings) != 2 || len(status.Partitions) != 4 {
		t.Errorf("status --json says %+v, want empty lists rather than none, 4 partitions and 2 warnings", status)
	}
}

func TestStatusOfAWorker(t *testing.T) {
	t.Parallel()
	env, _ := withWorker(t, routed)
	js := jetStream(t, urlOf(env))
	publishRaw(t, js, "presence.update.example%2Ecom.bob", `{"user_id":"@bob:example.com","state":"online"}`, nil)
	publishRaw(t, js, "presence.update.example%2Ecom.bob", `nonsense`, nil)
	var status reportedStatus
	eventually(t, func() error {
		if status = readStatus(t, env); status.DeadLetters["malformed"] != 1 {
			return errors.New("no dead letter is kept")
		}
		return nil
	})
	if len(status.Workers) != 1 || len(status.Workers[0].Partitions) != 4 || status.Workers[0].ConfigHash != status.ConfigHash || len(status.Warnings) != 1 ||
		status.NewestDead == nil || status.NewestDead.Reason != "malformed" {
		t.Fatalf("status --json says %+v, want one worker with 4 partitions, and one warning, of the dead letter", status)
	}
	sequence := uint64(0)
	for _, p := range status.Partitions {
		sequence = max(sequence, p.Sequence)
		if p.Owner != status.Workers[0].ID || p.CommittedBy != p.Owner || *p.Pending != 0 {
			t.Errorf("partition is %+v, want one that its owner is done with", p)
		}
	}
	if sequence != 2 {
		t.Errorf("the highest position is %d, want 2", sequence)
	}
	text := expect(t, 0, "", env, "status").stdout.String()
	want := fmt.Sprintf(`(?s)^\S+ \S+  1 worker, 4 partitions, .* updates/s, 0 pending, 1 dead letter \(1 malformed\)\n! 1 dead letter is kept, the newest \(malformed\) stored [^ ]* ago: router-worker dead list shows why\.\n\nWORKER .* STATE\n%s  .*  %s  .*  0-3 .* live\n\nPARTITION .*\n$`,
		status.Workers[0].ID, status.ConfigHash)
	if !regexp.MustCompile(want).MatchString(text) {
		t.Errorf("status says\n%s\nwant what matches %s", text, want)
	}
}

// A worker that is configured with other streams than there are is told of, in text
// and for programs.
func TestStatusOfStreamsConfiguredOtherwise(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_MODULES="+routed, "ROUTER_WORKER_STREAMS_UPDATES_MAX_AGE=1h")
	startWorker(t, env)
	var status reportedStatus
	eventually(t, func() error {
		if status = readStatus(t, env); len(status.Workers) != 1 || len(status.Workers[0].StreamsDiffer) != 1 {
			return fmt.Errorf("workers are %+v, want one with a difference", status.Workers)
		}
		return nil
	})
	d := status.Workers[0].StreamsDiffer[0]
	if d.Setting != "max_age" || d.Have != "24h0m0s" || d.Configured != "1h0m0s" || len(d.Streams) != 1 || len(status.Warnings) != 1 {
		t.Errorf("status --json says %+v and warns %q, want that max_age of one stream differs", d, status.Warnings)
	}
	want := "\n! The streams are not as configured: max_age of PRESENCE_UPDATES is 24h0m0s, and 1h0m0s for " + status.Workers[0].ID + ". "
	if got := expect(t, 0, "", env, "status").stdout.String(); !strings.Contains(got, want) {
		t.Errorf("status says %q, want %q", got, want)
	}
}

func TestStatusWithoutStreams(t *testing.T) {
	t.Parallel()
	env := natsAt(natstest.Run(t).URL())
	if got := expect(t, 1, "", env, "status").stderr.String(); !strings.Contains(got, "router-worker topology apply") {
		t.Errorf("status complains %q, want what to do about it", got)
	}
}
