package stream_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// failuresOfStreams are those of streams that are missing, full, other ones or hold what
// no worker wrote.
func failuresOfStreams() []failure {
	all := append(fullStreams(), otherStreams()...)
	for _, name := range []string{"PRESENCE_UPDATES", "PRESENCE_DELIVERIES", "KV_PRESENCE_WORKERS", "PRESENCE_DEAD", "PRESENCE_STATE"} {
		all = append(all, failure{name: name + " missing", config: unmended, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.drop(t, name)
		}})
	}
	return append(all, []failure{
		{name: "checkpoint forged", harm: func(t *testing.T, g *failing) {
			t.Helper()
			if _, err := g.js.Publish(t.Context(), g.subjects.Checkpoint(0), []byte("{}")); err != nil {
				t.Error(err)
			}
		}},
		{name: "checkpoint replaced", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.worker.stop(t)
			g.replaceCheckpoint(t)
			g.run(t, []routing.Registration{registration(toEach(t, alice))})
		}},
		{name: "layout record forged", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.forgeLayout(t, 1)
		}},
		{name: "layout record forged during a change", config: shared, harm: forgedChange},
	}...)
}

func fullStreams() []failure {
	return []failure{
		{name: "deliveries stream full", config: fullDeliveries, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.fill(t)
			g.publish(t, bob, 1)
		}},
		{name: "stopped while the deliveries stream is full", config: fullDeliveries, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.fill(t)
			g.publish(t, bob, 1)
			g.worker.log.await(t, "committing deliveries", "is full")
			g.worker.stop(t)
		}},
		{name: "updates stream full", config: fullUpdates, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publishFat(t, 80)
		}},
		{name: "dead letters stream full", config: func(c *stream.Config) { c.Streams.Dead.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			for range 80 {
				g.publishRaw(t, g.subjects.Update(presence.MustUserID(bob)), strings.Repeat("x", 20<<10), nil)
			}
		}},
		{name: "states stream full", config: func(c *stream.Config) { c.Streams.State.MaxBytes = 1 << 20 }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			for i := range 80 {
				user := fmt.Sprintf("@user%d:example.com", i)
				g.publishRaw(t, g.subjects.Update(presence.MustUserID(user)), fat(user, i), nil)
			}
		}},
		{name: "no room for a stream", config: inFile, harm: noRoom},
	}
}

// otherStreams are streams that are not the ones they were, or not as configured.
func otherStreams() []failure {
	return []failure{
		{name: "updates stream made again", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			g.remakeUpdates(t)
		}},
		{name: "updates stream made again while no worker runs", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			g.worker.stop(t)
			g.remakeUpdates(t)
		}},
		{name: "updates stream rolled back", config: inFile, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.rollBack(t, g.subjects.UpdatesStream())
		}},
		{name: "deliveries stream rolled back", config: inFile, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.rollBack(t, g.subjects.DeliveriesStream())
			g.publish(t, bob, 3)
		}},
		{name: "deliveries stream purged", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			if err := g.deliveriesStream(t).Purge(t.Context()); err != nil {
				t.Error(err)
			}
			g.publish(t, bob, 2)
		}},
		{name: "streams configured otherwise", before: func(_ *testing.T, g *failing) {
			g.config.Streams.Replicas, g.config.Streams.Dead.MaxAge = 3, time.Hour
		}},
		{name: "number of partitions configured otherwise", before: func(_ *testing.T, g *failing) { g.config.Streams.Partitions = 16 }},
		{name: "change of the partitions interrupted", config: shared, harm: interruptedChange},
	}
}

func unmended(c *stream.Config)       { c.Worker.Topology = false }
func fullUpdates(c *stream.Config)    { c.Streams.Updates.MaxBytes = 1 << 20 }
func fullDeliveries(c *stream.Config) { c.Streams.Deliveries.MaxBytes = 1 << 20 }

func (s *site) drop(t *testing.T, name string) {
	t.Helper()
	if err := s.js.DeleteStream(t.Context(), name); err != nil {
		t.Error(err)
	}
}

// rollBack takes a stream back to before the newest update was routed.
func (g *failing) rollBack(t *testing.T, name string) {
	t.Helper()
	g.awaitPosition(t, g.publish(t, bob, 1))
	copied := g.backUp(t, name)
	g.awaitPosition(t, g.publish(t, bob, 2))
	g.restore(t, name, copied)
}

// noRoom starts the worker again with a stream that is larger than the server.
func noRoom(t *testing.T, g *failing) {
	t.Helper()
	g.worker.stop(t)
	g.drop(t, g.subjects.UpdatesStream())
	g.config.Streams.Updates.MaxBytes = 8 << 30
	g.run(t, []routing.Registration{registration(toEach(t, alice))})
	g.worker.log.await(t, "lower streams.updates.max_bytes")
	g.worker.log.want(t, 0, "changed a stream")
}

// interruptedChange begins to change the number of partitions, and no command ends that.
func interruptedChange(t *testing.T, g *failing) {
	t.Helper()
	g.worker.stop(t)
	g.publishToAll(t, 0, 1)
	if _, err := g.repartition(t, 6, 0); err == nil {
		t.Error("repartition = nil, want that it waits for workers")
	}
	g.publishToAll(t, 1, 1) // which wait
	g.run(t, []routing.Registration{registration(toEach(t, alice))})
}

// forgedChange has the worker start when it is not known which partitions there are.
func forgedChange(t *testing.T, g *failing) {
	t.Helper()
	interruptedChange(t, g)
	g.worker.awaitReady(t)
	g.forgeLayout(t, 9)
}

// takeOver writes the checkpoint of partition 0 as another worker does that claims it.
func (g *failing) takeOver(t *testing.T) {
	t.Helper()
	mine, _ := g.checkpoint(t, 0)
	mine.Worker, mine.Commit = "other", "other-claim-1"
	message := &nats.Msg{
		Subject: g.subjects.Checkpoint(0), Data: wire.AppendCheckpoint(nil, mine),
		Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {"never"}},
	}
	if _, err := g.js.PublishMsg(t.Context(), message); err != nil {
		t.Error(err)
	}
}
