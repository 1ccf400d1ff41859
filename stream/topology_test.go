package stream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/topology"
)

func newTopology(t *testing.T, js jetstream.JetStream, config topology.Config, opts ...topology.Option) *topology.Streams {
	t.Helper()
	topology, err := topology.New(js, config, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// newServer returns a server without streams.
func newServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	return natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
}

func apply(t *testing.T, js jetstream.JetStream, config topology.Config) {
	t.Helper()
	if _, err := newTopology(t, js, config).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func plan(t *testing.T, js jetstream.JetStream, config topology.Config) []string {
	t.Helper()
	changes, err := newTopology(t, js, config).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	return lines
}

func TestTopologyPlanChangesNothing(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	want := []string{
		"create PRESENCE_UPDATES: subjects presence.update.*.*, subject transform presence.update.*.* to " +
			"presence.update.{{partition(16,1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}, retention limits, storage file, " +
			"replicas 1, max_age 24h0m0s, max_bytes 8589934592, discard old, max_msg_size 69632, allow_direct true",
		"create PRESENCE_DELIVERIES: subjects presence.checkpoint.* presence.dead.* presence.deliver.>, retention limits, " +
			"storage file, replicas 1, max_age 15m0s, max_bytes 4294967296, discard new, allow_direct true, allow_rollup true, " +
			"allow_msg_ttl true, allow_atomic true, allow_batched true",
		"create PRESENCE_DEAD: sources PRESENCE_DELIVERIES presence.dead.*, retention limits, storage file, replicas 1, " +
			"max_age 168h0m0s, max_bytes 1073741824, discard old, allow_direct true",
		"create KV_PRESENCE_WORKERS: subjects $KV.PRESENCE_WORKERS.>, retention limits, storage file, replicas 1, max_age 0s, " +
			"max_bytes -1, discard new, max_msgs_per_subject 1, allow_direct true, allow_rollup true, allow_msg_ttl true",
		"create PRESENCE_STATE: sources PRESENCE_UPDATES presence.*.*.*.* to presence.state.{{wildcard(3)}}.{{wildcard(4)}}, " +
			"retention limits, storage file, replicas 1, max_age 168h0m0s, max_bytes 1073741824, discard old, max_msgs_per_subject 1, " +
			"allow_direct true",
	}
	if got := plan(t, js, topology.DefaultConfig()); !slices.Equal(got, want) {
		t.Errorf("Plan of an empty server:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for name := range js.StreamNames(t.Context()).Name() {
		t.Errorf("Plan made stream %s", name)
	}
}

func TestTopologyApplyTwice(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	topology := newTopology(t, js, topology.DefaultConfig())
	changes, err := topology.Apply(t.Context())
	if err != nil || len(changes) != 5 {
		t.Fatalf("Apply = %v, %v, want five changes", changes, err)
	}
	again, err := topology.Apply(t.Context())
	if err != nil || len(again) != 0 {
		t.Errorf("second Apply = %v, %v, want no change", again, err)
	}
	if err := topology.Verify(t.Context()); err != nil {
		t.Errorf("Verify after Apply = %v, want nil", err)
	}
}

func TestTopologyChanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(*topology.Config)
		want    string
		refused bool
	}{
		{
			"max_age of updates lowered", func(c *topology.Config) { c.Updates.MaxAge = time.Hour },
			"refuse PRESENCE_UPDATES: max_age is 24h0m0s, configured is 1h0m0s: " +
				"messages that are kept now would be deleted; if that is meant, run router-worker topology apply --allow-weaker", true,
		},
		{
			"max_bytes of updates lowered", func(c *topology.Config) { c.Updates.MaxBytes = 1 << 30 },
			"refuse PRESENCE_UPDATES: max_bytes is 8589934592, configured is 1073741824: " +
				"messages that are kept now would be deleted; if that is meant, run router-worker topology apply --allow-weaker", true,
		},
		{
			"max_age of updates raised", func(c *topology.Config) { c.Updates.MaxAge = 48 * time.Hour },
			"update PRESENCE_UPDATES: max_age from 24h0m0s to 48h0m0s", false,
		},
		{
			"max_bytes of updates lifted", func(c *topology.Config) { c.Updates.MaxBytes = -1 },
			"update PRESENCE_UPDATES: max_bytes from 8589934592 to -1", false,
		},
		{
			"max_bytes of deliveries lowered", func(c *topology.Config) { c.Deliveries.MaxBytes = 1 << 30 },
			"update PRESENCE_DELIVERIES: max_bytes from 4294967296 to 1073741824", false,
		},
		{
			"max_update_bytes raised", func(c *topology.Config) { c.Updates.MaxUpdateBytes = 128 << 10 },
			"update PRESENCE_UPDATES: max_msg_size from 69632 to 135168", false,
		},
		{
			"max_update_bytes lowered", func(c *topology.Config) { c.Updates.MaxUpdateBytes = 2 << 10 },
			"refuse PRESENCE_UPDATES: max_msg_size is 69632, configured is 6144: " +
				"updates that fit now would be refused; if that is meant, run router-worker topology apply --allow-weaker", true,
		},
		{
			"max_bytes of dead letters lowered", func(c *topology.Config) { c.Dead.MaxBytes = 1 << 20 },
			"refuse PRESENCE_DEAD: max_bytes is 1073741824, configured is 1048576: " +
				"messages that are kept now would be deleted; if that is meant, run router-worker topology apply --allow-weaker", true,
		},
		{
			"max_age of dead letters raised", func(c *topology.Config) { c.Dead.MaxAge = 14 * 24 * time.Hour },
			"update PRESENCE_DEAD: max_age from 168h0m0s to 336h0m0s", false,
		},
		{
			"max_age of states lowered", func(c *topology.Config) { c.State.MaxAge = time.Hour },
			"refuse PRESENCE_STATE: max_age is 168h0m0s, configured is 1h0m0s: " +
				"messages that are kept now would be deleted; if that is meant, run router-worker topology apply --allow-weaker", true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			before := topology.DefaultConfig()
			apply(t, js, before)
			after := before
			tt.change(&after)
			if got := plan(t, js, after); len(got) != 1 || got[0] != tt.want {
				t.Fatalf("Plan = %v, want %s", got, tt.want)
			}
			_, err := newTopology(t, js, after).Apply(t.Context())
			if errors.Is(err, topology.ErrRefused) != tt.refused || (err != nil) != tt.refused {
				t.Errorf("Apply = %v, want refused %t", err, tt.refused)
			}
			settled := after
			if tt.refused {
				settled = before
			}
			if got := plan(t, js, settled); len(got) != 0 {
				t.Errorf("after Apply the plan is %v, want nothing", got)
			}
		})
	}
}

// What makes a deployment weaker is made if that is asked for.
func TestTopologyAllowsWeaker(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	before := topology.DefaultConfig()
	apply(t, js, before)
	after := before
	after.Updates.MaxAge, after.Updates.MaxBytes = time.Hour, 1<<30
	want := []string{
		"weaken PRESENCE_UPDATES: max_age from 24h0m0s to 1h0m0s: messages that are kept now would be deleted",
		"weaken PRESENCE_UPDATES: max_bytes from 8589934592 to 1073741824: messages that are kept now would be deleted",
	}
	changes, err := newTopology(t, js, after, topology.AllowWeaker()).Apply(t.Context())
	if err != nil || len(changes) != 2 || changes[0].String() != want[0] || changes[1].String() != want[1] {
		t.Errorf("Apply = %v, %v, want %v", changes, err, want)
	}
	if got := plan(t, js, after); len(got) != 0 {
		t.Errorf("after Apply the plan is %v, want nothing", got)
	}
	after.Storage = topology.Memory
	if _, err := newTopology(t, js, after, topology.AllowWeaker()).Apply(t.Context()); !errors.Is(err, topology.ErrRefused) {
		t.Errorf("Apply of another storage = %v, want it refused: the server cannot change it", err)
	}
}

// Workers and topology apply never move positions.
func TestTopologyKeepsThePartitions(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	apply(t, js, config)
	config.Partitions = 8
	config.Updates.MaxAge = 48 * time.Hour
	want := []string{
		"keep PRESENCE_UPDATES: number of partitions is 16, configured is 8: change it with router-worker topology repartition 8",
		"update PRESENCE_UPDATES: max_age from 24h0m0s to 48h0m0s",
	}
	if got := plan(t, js, config); !slices.Equal(got, want) {
		t.Errorf("Plan = %v, want %v", got, want)
	}
	apply(t, js, config)
	if got := plan(t, js, config); !slices.Equal(got, want[:1]) {
		t.Errorf("after Apply the plan is %v, want %v", got, want[:1])
	}
	if err := newTopology(t, js, config).Verify(t.Context()); err != nil {
		t.Errorf("Verify = %v, want nil: the number of partitions is no difference", err)
	}
}

// A stream that stores updates in another way than by partition is not touched.
func TestTopologyRefusesForeignTransform(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	apply(t, js, config)
	edit(t, js, "PRESENCE_UPDATES", func(c *jetstream.StreamConfig) {
		c.SubjectTransform.Destination = "presence.update.1.{{wildcard(1)}}.{{wildcard(2)}}"
	})
	_, err := newTopology(t, js, config).Apply(t.Context())
	if !errors.Is(err, topology.ErrRefused) || !strings.Contains(err.Error(), "updates would not be stored by partition any more") {
		t.Errorf("Apply = %v, want the transform refused", err)
	}
}

// A limit where there was none deletes as well.
func TestTopologyRefusesFirstLimit(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	config.Updates.MaxBytes = -1
	apply(t, js, config)
	config.Updates.MaxBytes = 1 << 30
	if _, err := newTopology(t, js, config).Apply(t.Context()); !errors.Is(err, topology.ErrRefused) {
		t.Errorf("Apply = %v, want %v", err, topology.ErrRefused)
	}
}

func TestTopologyRefusalLeavesEverything(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	before := topology.DefaultConfig()
	apply(t, js, before)
	after := before
	after.Storage = topology.Memory
	after.Updates.MaxAge = 48 * time.Hour // This one alone would be made.
	changes, err := newTopology(t, js, after).Apply(t.Context())
	if !errors.Is(err, topology.ErrRefused) || strings.Count(err.Error(), "storage is file, configured is memory: the server cannot change it") != 5 {
		t.Errorf("Apply = %v, want the storage of five streams refused", err)
	}
	if len(changes) != 6 {
		t.Errorf("Apply returns the changes %v, want the whole plan of 6", changes)
	}
	if got := plan(t, js, before); len(got) != 0 {
		t.Errorf("the refused Apply changed something: %v", got)
	}
}

func TestTopologyKeepsOtherSettings(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	apply(t, js, config)
	edit(t, js, "PRESENCE_UPDATES", func(c *jetstream.StreamConfig) {
		c.Metadata = map[string]string{"team": "chat"}
		c.Duplicates = time.Minute
		c.MaxMsgsPerSubject = 9
		c.AllowRollup = true
	})
	config.Updates.MaxAge = 48 * time.Hour
	want := []string{
		"update PRESENCE_UPDATES: max_age from 24h0m0s to 48h0m0s",
		"update PRESENCE_UPDATES: max_msgs_per_subject from 9 to none",
	}
	if got := plan(t, js, config); !slices.Equal(got, want) {
		t.Errorf("Plan = %v, want %v", got, want)
	}
	apply(t, js, config)
	after, err := js.Stream(t.Context(), "PRESENCE_UPDATES")
	if err != nil {
		t.Fatal(err)
	}
	c := after.CachedInfo().Config
	if c.Metadata["team"] != "chat" || c.Duplicates != time.Minute || !c.AllowRollup {
		t.Errorf("operator's settings are gone: metadata %v, duplicates %v, allow_rollup %t", c.Metadata, c.Duplicates, c.AllowRollup)
	}
	if c.MaxMsgsPerSubject > 0 || c.MaxAge != 48*time.Hour {
		t.Errorf("max_msgs_per_subject is %d and max_age %v, want none and 48h", c.MaxMsgsPerSubject, c.MaxAge)
	}
}

func edit(t *testing.T, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	found, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	config := found.CachedInfo().Config
	change(&config)
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

func TestTopologyVerifySaysWhatDiffers(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	apply(t, js, config)
	if err := js.DeleteStream(t.Context(), "PRESENCE_DEAD"); err != nil {
		t.Fatal(err)
	}
	edit(t, js, "PRESENCE_DELIVERIES", func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	config.Deliveries.MaxAge = time.Hour // Workers go on without.
	want := "stream PRESENCE_DELIVERIES: allow_direct is false, configured is true\n" +
		"stream PRESENCE_DEAD is missing: make it with topology apply"
	if err := newTopology(t, js, config).Verify(t.Context()); err == nil || err.Error() != want {
		t.Errorf("Verify = %v, want %s", err, want)
	}
	if _, err := js.Stream(t.Context(), "PRESENCE_DEAD"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("Verify made the stream that is missing: %v", err)
	}
}

func TestTopologyPrefixNamesStreams(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := topology.DefaultConfig()
	config.Prefix = "acme"
	apply(t, js, config)
	var names []string
	for name := range js.StreamNames(t.Context()).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"ACME_DEAD", "ACME_DELIVERIES", "ACME_STATE", "ACME_UPDATES", "KV_ACME_WORKERS"}; !slices.Equal(names, want) {
		t.Errorf("streams are %v, want %v", names, want)
	}
	config.Prefix = "Acme"
	if _, err := topology.New(js, config); err == nil || !strings.Contains(err.Error(), "subject_prefix") {
		t.Errorf("New with prefix Acme = %v, want an error about subject_prefix", err)
	}
}
