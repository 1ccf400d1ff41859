package stream_test

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
)

// failuresOfNATS are those of servers and connections.
func failuresOfNATS() []failure {
	return []failure{
		{name: "NATS server down", harm: func(_ *testing.T, g *failing) { g.server.Shutdown() }},
		{name: "NATS server stopped or very slow", before: behindProxy, harm: func(_ *testing.T, g *failing) { g.frozen.Store(true) }},
		{name: "JetStream disabled, disk full", config: inFile, harm: func(t *testing.T, g *failing) {
			t.Helper()
			if err := g.server.DisableJetStream(); err != nil {
				t.Error(err)
			}
		}},
		{name: "a replica away", config: replicated, harm: func(_ *testing.T, g *failing) { g.servers[2].Shutdown() }},
		{name: "no leader", config: replicated, harm: func(_ *testing.T, g *failing) {
			g.servers[2].Shutdown()
			g.servers[1].Shutdown()
		}},
		{name: "permission missing", before: withoutPermission, harm: func(_ *testing.T, g *failing) { g.frozen.Store(true) }},
		{name: "credentials refused", harm: func(t *testing.T, g *failing) {
			t.Helper()
			g.connectThrough(t, refuseCredentials)
		}},
		{name: "nats-server too old", harm: func(t *testing.T, g *failing) {
			t.Helper()
			version := regexp.MustCompile(`"version":"[^"]*"`)
			g.connectThrough(t, func(frame []byte) ([]byte, verdict) {
				return version.ReplaceAll(frame, []byte(`"version":"2.11.9"`)), pass
			})
		}},
	}
}

func inFile(c *stream.Config) {
	c.Streams.Storage = topology.File
	c.Streams.Deliveries.MaxBytes, c.Streams.Dead.MaxBytes, c.Streams.State.MaxBytes = -1, -1, -1 // or the server reserves them
}

func replicated(c *stream.Config) { c.Streams.Replicas = 3 }

// behindProxy has the worker and who asks for the status reach the server through a proxy.
func behindProxy(t *testing.T, g *failing) {
	t.Helper()
	g.url = startProxy(t, g.url, &proxy{fromServer: func(frame []byte) ([]byte, verdict) {
		if g.frozen.Load() {
			return frame, swallow
		}
		return frame, pass
	}})
	g.nc = natstest.Connect(t, g.url)
}

// withoutPermission has the server refuse to look streams up, once it is to.
func withoutPermission(t *testing.T, g *failing) {
	t.Helper()
	g.url = startProxy(t, g.url, &proxy{
		fromClient: func(frame []byte) ([]byte, verdict) {
			if g.frozen.Load() && bytes.HasPrefix(frame, []byte("PUB $JS.API.STREAM.INFO.")) {
				return []byte("PING\r\n"), pass // which is answered
			}
			return frame, pass
		},
		fromServer: func(frame []byte) ([]byte, verdict) {
			if g.frozen.Load() && bytes.HasPrefix(frame, []byte("PONG")) {
				frame = append([]byte("-ERR 'Permissions Violation for Publish to \"$JS.API.STREAM.INFO.PRESENCE_UPDATES\"'\r\n"), frame...)
			}
			return frame, pass
		},
	})
	g.nc = natstest.Connect(t, g.url)
}

func refuseCredentials(frame []byte) ([]byte, verdict) {
	return append(frame, "-ERR 'Authorization Violation'\r\n"...), pass
}

// connectThrough connects as a worker does that starts, and keeps what it ends with.
func (g *failing) connectThrough(t *testing.T, fromServer func([]byte) ([]byte, verdict)) {
	t.Helper()
	_, err := stream.Connect(t.Context(), startProxy(t, g.url, &proxy{fromServer: fromServer}), g.worker.log.logger())
	g.fails(t, err)
}
