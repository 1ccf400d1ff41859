package stream_test

import (
	"slices"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/query"
	"github.com/presence-router/presence-router/stream/topology"
)

func TestDefaultConfigIsValid(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.Streams, c.Worker = topology.DefaultConfig(), stream.DefaultWorkerConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("Validate() = %v, want nil", err)
	}
}

func TestConfigAcceptsTheBounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*stream.Config)
	}{
		{"lowest", func(c *stream.Config) {
			c.Streams = topology.Config{
				Prefix: "p", Replicas: 1, Storage: topology.File, Partitions: 1,
				Updates:    topology.UpdatesConfig{MaxAge: time.Minute, MaxBytes: 1 << 20, MaxUpdateBytes: 256},
				Deliveries: topology.DeliveriesConfig{MaxAge: time.Second, MaxBytes: 1 << 20, MaxDeliveryBytes: 1 << 10, Shards: 1},
				Dead:       topology.DeadConfig{MaxAge: time.Minute, MaxBytes: 1 << 20},
				State:      topology.StateConfig{MaxAge: time.Minute, MaxBytes: 1 << 20},
			}
			c.Worker = stream.WorkerConfig{
				Batch: 1, RouterTimeout: time.Millisecond, Start: stream.Oldest, CheckpointInterval: 10 * time.Millisecond,
				CommitTimeout: 100 * time.Millisecond, StartTimeout: time.Second, StopTimeout: 100 * time.Millisecond, TTL: time.Second,
				Queries: query.Config{Concurrency: 1, Waiting: 1, MaxBytes: 1 << 20, Timeout: 10 * time.Millisecond, Replays: 1, ReplayTimeout: time.Second},
			}
		}},
		{"highest", func(c *stream.Config) {
			year := 366 * 24 * time.Hour
			c.Streams = topology.Config{
				Prefix: "abcdefghijklmnopqrstuvwxyz_-0123", Replicas: 5, Storage: topology.Memory, Partitions: 256,
				Updates:    topology.UpdatesConfig{MaxAge: year, MaxBytes: -1, MaxUpdateBytes: 256 << 10},
				Deliveries: topology.DeliveriesConfig{MaxAge: year, MaxBytes: -1, MaxDeliveryBytes: 768 << 10, Shards: 4096},
				Dead:       topology.DeadConfig{MaxAge: year, MaxBytes: -1},
				State:      topology.StateConfig{MaxAge: year, MaxBytes: -1},
			}
			c.Worker = stream.WorkerConfig{
				ID: "azAZ09_-", Batch: 4096, RouterTimeout: 10 * time.Minute, Start: stream.Newest, CheckpointInterval: time.Minute,
				CommitTimeout: time.Minute, RetryLimit: time.Hour, StartTimeout: time.Hour, StopTimeout: 10 * time.Minute, TTL: time.Minute,
				Queries: query.Config{Concurrency: 1024, Waiting: 65_536, MaxBytes: 1 << 30, Timeout: 10 * time.Minute, Replays: 64, ReplayTimeout: time.Hour},
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := testConfig()
			tt.change(&c)
			if err := c.Validate(); err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
		})
	}
}

func TestConfigFaultNamesFieldValueAndBound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		change func(*stream.Config)
		want   string
	}{
		{func(c *stream.Config) { c.ServerNames = nil }, "server_names is []: want at least one server name"},
		{func(c *stream.Config) { c.Streams.Prefix = "" }, `streams.subject_prefix is "": want 1 to 32 of a-z, 0-9, _ and -`},
		{func(c *stream.Config) { c.Streams.Prefix = "Presence" }, `streams.subject_prefix is "Presence": want 1 to 32 of a-z, 0-9, _ and -`},
		{func(c *stream.Config) { c.Streams.Prefix = "a.b" }, `streams.subject_prefix is "a.b": want 1 to 32 of a-z, 0-9, _ and -`},
		{func(c *stream.Config) { c.Streams.Replicas = 2 }, "streams.replicas is 2: want 1, 3 or 5"},
		{func(c *stream.Config) { c.Streams.Storage = "tape" }, `streams.storage is "tape": want file or memory`},
		{func(c *stream.Config) { c.Streams.Partitions = 0 }, "streams.partitions is 0: want 1 to 256"},
		{func(c *stream.Config) { c.Streams.Partitions = 257 }, "streams.partitions is 257: want 1 to 256"},
		{func(c *stream.Config) { c.Streams.Updates.MaxAge = time.Second }, "streams.updates.max_age is 1s: want 1m0s to 8784h0m0s"},
		{func(c *stream.Config) { c.Streams.Updates.MaxBytes = 0 }, "streams.updates.max_bytes is 0: want -1 or at least 1MiB"},
		{func(c *stream.Config) { c.Streams.Updates.MaxUpdateBytes = 255 }, "streams.updates.max_update_bytes is 255: want 256 to 262144"},
		{func(c *stream.Config) { c.Streams.Updates.MaxUpdateBytes = 262145 }, "streams.updates.max_update_bytes is 262145: want 256 to 262144"},
		{func(c *stream.Config) { c.Streams.Deliveries.MaxAge = 0 }, "streams.deliveries.max_age is 0s: want 1s to 8784h0m0s"},
		{func(c *stream.Config) { c.Streams.Deliveries.MaxBytes = 1 }, "streams.deliveries.max_bytes is 1: want -1 or at least 1MiB"},
		{func(c *stream.Config) { c.Streams.Deliveries.MaxDeliveryBytes = 786433 }, "streams.deliveries.max_delivery_bytes is 786433: want 1024 to 786432"},
		{func(c *stream.Config) { c.Streams.Deliveries.Shards = 4097 }, "streams.deliveries.shards is 4097: want 1 to 4096"},
		{func(c *stream.Config) { c.Streams.Dead.MaxBytes = 1<<20 - 1 }, "streams.dead.max_bytes is 1048575: want -1 or at least 1MiB"},
		{func(c *stream.Config) { c.Streams.State.MaxBytes = 0 }, "streams.state.max_bytes is 0: want -1 or at least 1MiB"},
		{func(c *stream.Config) { c.Streams.Dead.MaxAge = 0 }, "streams.dead.max_age is 0s: want 1m0s to 8784h0m0s"},
		{func(c *stream.Config) { c.Streams.State.MaxAge = 0 }, "streams.state.max_age is 0s: want 1m0s to 8784h0m0s"},
		{func(c *stream.Config) { c.Worker.Queries.Concurrency = 0 }, "worker.queries.concurrency is 0: want 1 to 1024"},
		{func(c *stream.Config) { c.Worker.Queries.Waiting = 0 }, "worker.queries.waiting is 0: want 1 to 65536"},
		{func(c *stream.Config) { c.Worker.Queries.MaxBytes = 0 }, "worker.queries.max_bytes is 0: want 1048576 to 1073741824"},
		{func(c *stream.Config) { c.Worker.Queries.Timeout = 0 }, "worker.queries.timeout is 0s: want 10ms to 10m0s"},
		{func(c *stream.Config) { c.Worker.Queries.Replays = 0 }, "worker.queries.replays is 0: want 1 to 64"},
		{func(c *stream.Config) { c.Worker.Queries.ReplayTimeout = 0 }, "worker.queries.replay_timeout is 0s: want 1s to 1h0m0s"},
		{func(c *stream.Config) { c.Worker.Queries.ReplyPrefixes = slices.Repeat([]query.ReplyPrefix{"a"}, 65) }, "worker.queries.reply_prefixes is 65: want at most 64 prefixes"},
		{func(c *stream.Config) { c.Worker.Queries.ReplyPrefixes = []query.ReplyPrefix{"a", "$JS"} }, `worker.queries.reply_prefixes[1] is "$JS": want ` + replyPrefix},
		{func(c *stream.Config) { c.Worker.Queries.ReplyPrefixes = []query.ReplyPrefix{"presence.a"} }, `worker.queries.reply_prefixes[0] is "presence.a": want another first token than presence, streams.subject_prefix`},
		{func(c *stream.Config) { c.Worker.ID = "a b" }, `worker.id is "a b": want at most 64 of A-Z, a-z, 0-9, _ and -`},
		{func(c *stream.Config) { c.Worker.Batch = 0 }, "worker.batch is 0: want 1 to 4096"},
		{func(c *stream.Config) { c.Worker.Batch = 4097 }, "worker.batch is 4097: want 1 to 4096"},
		{func(c *stream.Config) { c.Worker.RouterTimeout = 0 }, "worker.router_timeout is 0s: want 1ms to 10m0s"},
		{func(c *stream.Config) { c.Worker.Start = "" }, `worker.start is "": want oldest or newest`},
		{func(c *stream.Config) { c.Worker.CheckpointInterval = 0 }, "worker.checkpoint_interval is 0s: want 10ms to 1m0s"},
		{func(c *stream.Config) { c.Worker.CommitTimeout = 0 }, "worker.commit_timeout is 0s: want 100ms to 1m0s"},
		{func(c *stream.Config) { c.Worker.RetryLimit = -1 }, "worker.retry_limit is -1ns: want 0s to 1h0m0s"},
		{func(c *stream.Config) { c.Worker.StartTimeout = 0 }, "worker.start_timeout is 0s: want 1s to 1h0m0s"},
		{func(c *stream.Config) { c.Worker.StopTimeout = 0 }, "worker.stop_timeout is 0s: want 100ms to 10m0s"},
		{func(c *stream.Config) { c.Worker.TTL = 999 * time.Millisecond }, "worker.ttl is 999ms: want 1s to 1m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			t.Parallel()
			c := testConfig()
			tt.change(&c)
			err := c.Validate()
			if err == nil || err.Error() != tt.want {
				t.Errorf("Validate() = %v, want %s", err, tt.want)
			}
			if _, err := stream.NewWorker(nil, nil, c); err == nil || err.Error() != tt.want {
				t.Errorf("NewWorker = %v, want %s", err, tt.want)
			}
		})
	}
}

const replyPrefix = "1 to 128 characters such as _INBOX or _INBOX.workers: visible ASCII without * and >, and no $ at the start, as the server's own subjects have"

func TestConfigFaultsAreJoined(t *testing.T) {
	t.Parallel()
	var c stream.Config
	if got := len(fault.Fields(c.Validate())); got < 15 {
		t.Errorf("the zero Config has %d faults, want one for each field that must be set", got)
	}
}

func TestWorkerID(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Worker.ID = "rack-7" })
	none := []routing.Registration{}
	if got := s.newWorker(t, none).ID(); got != "rack-7" {
		t.Errorf("ID() = %q, want the configured one", got)
	}
	s.config.Worker.ID = ""
	one, other := s.newWorker(t, none).ID(), s.newWorker(t, none).ID()
	if one == "" || one == other {
		t.Errorf("made-up IDs are %q and %q, want two different ones", one, other)
	}
}
