package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// failuresOfWork are those of routers, updates and workers.
func failuresOfWork() []failure {
	return append(failuresOfWorkers(), []failure{
		{name: "router fails", routers: failingRouter, harm: publishOne},
		{name: "router hangs", routers: hangingRouter, harm: publishOne},
		{name: "router hangs while the worker stops", routers: hangingRouter, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publish(t, bob, 1)
			eventually(t, "update that is handed out", func() bool { return g.sent(t) == 1 })
			g.worker.quit()
			g.ends(t)
		}},
		{name: "dead letters", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publishRaw(t, g.subjects.Update(presence.MustUserID(bob)), "nonsense", nil)
		}},
		{name: "one message of a commit refused", before: refuseOneMessage, harm: publishOne},
		{name: "updates dropped before they are routed", config: fullUpdates, routers: hangingRouter, harm: func(t *testing.T, g *failing) {
			t.Helper()
			const some = 1500 // of some 1800 that the stream holds
			g.publishSized(t, some)
			awaitPending(t, g.reader, some)
			g.publishSized(t, 2*some)
		}},
		{name: "updates expired while no worker ran", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.awaitPosition(t, g.publish(t, bob, 1))
			g.worker.stop(t)
			g.publishMany(t, 2, 10)
			if err := g.updatesStream(t).Purge(t.Context()); err != nil {
				t.Error(err)
			}
			g.publish(t, bob, 99)
			g.run(t, []routing.Registration{registration(toEach(t, alice))})
		}},
		{name: "updates that nobody may have", routers: toElsewhere, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.publish(t, "@eve:elsewhere.example", 1)
		}},
	}...)
}

func failuresOfWorkers() []failure {
	return []failure{
		{name: "no worker", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.worker.stop(t)
		}},
		{name: "heartbeats do not get through", before: func(t *testing.T, g *failing) {
			t.Helper()
			g.unheard(t)
		}, harm: func(_ *testing.T, g *failing) { g.silent.Store(true) }},
		{name: "another worker killed", config: shared, harm: func(t *testing.T, g *failing) {
			t.Helper()
			other := g.start(t, toEach(t, alice))
			g.awaitShares(t, sharedPartitions/2, g.worker, other)
			other.kill(t)
		}},
		{name: "another worker started under the same ID", config: func(c *stream.Config) { c.Worker.ID = "twin" }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.start(t, toEach(t, alice))
			g.ends(t)
		}},
		{name: "partition taken over", config: func(c *stream.Config) { c.Worker.TTL = time.Minute }, harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.takeOver(t)
			g.publish(t, bob, 1)
		}},
		{name: "workers configured otherwise", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.start(t, toEach(t, alice), stream.WithIdentity("v1", "bbb"))
		}},
	}
}

func publishOne(t *testing.T, g *failing) {
	t.Helper()
	g.publish(t, bob, 1)
}

func failingRouter(t *testing.T) []routing.Registration {
	t.Helper()
	return besides(t, routing.Retry, func(context.Context, states) (answer, error) { return nil, errors.New("not yet") })
}

// hangingRouter hangs until the test ends.
func hangingRouter(t *testing.T) []routing.Registration {
	t.Helper()
	h := newHeld()
	t.Cleanup(func() { close(h.release) })
	return []routing.Registration{registration(h.router(t))}
}

// refuseOneMessage has the server say before it acknowledges a batch that it refused a
// message of it.
func refuseOneMessage(t *testing.T, g *failing) {
	t.Helper()
	const refusal = `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},"stream":"PRESENCE_DELIVERIES","seq":0}`
	g.url = startProxy(t, g.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		if isCommitAnswer(frame) && !bytes.Contains(frame, []byte(`"count":1,`)) && !bytes.Contains(frame, []byte(`"count":1}`)) {
			fields := bytes.Fields(frame)
			frame = append(fmt.Appendf(nil, "MSG %s %s %d\r\n%s\r\n", fields[1], fields[2], len(refusal), refusal), frame...)
		}
		return frame, pass
	}})
}

// toElsewhere routes to a user of another server.
func toElsewhere(t *testing.T) []routing.Registration {
	t.Helper()
	return []routing.Registration{registration(toEach(t, "@far:island.example"))}
}

// failuresOfQueries are those of queries and who asks them.
func failuresOfQueries() []failure {
	return []failure{
		{name: "queries that fail", routers: failingQuery, harm: func(t *testing.T, g *failing) {
			t.Helper()
			_, err := g.ask(t, wire.InterestedUsers, aliceAsks().Append(nil))
			wantQueryError(t, err, wire.CodeRoutersFailed)
		}},
		{name: "query with a reply subject that is not allowed", harm: func(t *testing.T, g *failing) {
			t.Helper()
			request := &nats.Msg{Subject: g.subjects.Query(wire.InterestedUsers), Reply: g.subjects.Checkpoint(0), Data: aliceAsks().Append(nil)}
			if err := g.nc.PublishMsg(request); err != nil {
				t.Error(err)
			}
		}},
		{name: "credentials of queries refused", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.worker.stop(t)
			refusing := startProxy(t, g.url, &proxy{fromServer: refuseCredentials})
			g.run(t, []routing.Registration{registration(toEach(t, alice))}, stream.WithQueryConnection(func(o *nats.Options) error {
				o.Url, o.Servers = refusing, nil
				return nil
			}))
			g.ends(t)
		}},
	}
}

func failingQuery(t *testing.T) []routing.Registration {
	t.Helper()
	return []routing.Registration{registration(interested(t, func(context.Context, presence.UserID) (routing.Interest, error) {
		return routing.Interest{}, errors.New("not yet")
	}))}
}
