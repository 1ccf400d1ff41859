package natstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// ProcessCluster is a cluster of nats-servers, each in a process of its own, or one
// server that is in no cluster. They do not tell clients of each other: a client
// knows the servers it is given.
type ProcessCluster struct {
	Servers []*Process
}

// StartProcessCluster starts size servers for the length of the test and returns
// them when they take streams with size replicas. Each has the options, but a
// name, a port and a store of its own. One server alone has the options as they are.
func StartProcessCluster(tb testing.TB, size int, options ProcessOptions) *ProcessCluster {
	tb.Helper()
	if size == 1 {
		return &ProcessCluster{Servers: []*Process{StartProcess(tb, options)}}
	}
	ctx, cancel := context.WithTimeout(tb.Context(), clusterTimeout)
	defer cancel()
	c, err := startProcesses(ctx, tb, size, options)
	if err != nil {
		tb.Fatalf("start cluster of %d processes: %v", size, err)
	}
	if err := awaitCluster(ctx, tb, c.urls()); err != nil {
		tb.Fatalf("wait for cluster of %d processes: %v", size, err)
	}
	return c
}

func startProcesses(ctx context.Context, tb testing.TB, size int, options ProcessOptions) (*ProcessCluster, error) {
	tb.Helper()
	var failed error
	for range startAttempts {
		c, err := tryProcesses(ctx, tb, size, options)
		if err == nil {
			return c, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

func tryProcesses(ctx context.Context, tb testing.TB, size int, options ProcessOptions) (*ProcessCluster, error) {
	tb.Helper()
	ports, err := freePorts(ctx, 2*size)
	if err != nil {
		return nil, err
	}
	c := &ProcessCluster{}
	for i, port := range ports[:size] {
		one := options
		one.Name, one.Port, one.StoreDir = fmt.Sprintf("n%d", i+1), port, ""
		one.Config += clusterBlock(ports[size:], i)
		p := NewProcess(tb, one)
		if err := p.Start(ctx); err != nil {
			return nil, errors.Join(err, c.kill())
		}
		c.Servers = append(c.Servers, p)
	}
	return c, nil
}

// clusterBlock returns the configuration of server i of those that listen to each
// other on ports.
func clusterBlock(ports []int, i int) string {
	return fmt.Sprintf("\ncluster {\n  name: test\n  listen: %q\n  no_advertise: true\n  routes: [%s]\n}\n",
		address(ports[i]), strings.Join(routes(ports), ", "))
}

func (c *ProcessCluster) kill() error {
	var failed []error
	for _, p := range c.Servers {
		failed = append(failed, p.Kill())
	}
	return errors.Join(failed...)
}

// URL returns the URLs of all servers, for a client that is to know them all.
func (c *ProcessCluster) URL() string { return strings.Join(c.urls(), ",") }

func (c *ProcessCluster) urls() []string {
	urls := make([]string, len(c.Servers))
	for i, p := range c.Servers {
		urls[i] = p.URL()
	}
	return urls
}

// Leader returns the server that leads a stream, as js knows it. It waits until
// there is one, or until ctx ends.
func (c *ProcessCluster) Leader(ctx context.Context, js jetstream.JetStream, stream string) (*Process, error) {
	var leader *Process
	err := retry(ctx, func(ctx context.Context) error {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		leader = c.named(s.CachedInfo().Cluster)
		if leader == nil {
			return errors.New("there is none")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up leader of stream %s: %w", stream, err)
	}
	return leader, nil
}

func (c *ProcessCluster) named(info *jetstream.ClusterInfo) *Process {
	if len(c.Servers) == 1 {
		return c.Servers[0]
	}
	if info == nil {
		return nil
	}
	for _, p := range c.Servers {
		if p.Name() == info.Leader {
			return p
		}
	}
	return nil
}

// AwaitCurrent waits until every stream has a leader and every replica of it is
// there and has caught up, or until ctx ends.
func (c *ProcessCluster) AwaitCurrent(ctx context.Context, js jetstream.JetStream) error {
	err := retry(ctx, func(ctx context.Context) error {
		streams := js.ListStreams(ctx)
		var behind []error
		for info := range streams.Info() {
			if len(c.Servers) > 1 {
				behind = append(behind, lagging(info))
			}
		}
		return errors.Join(append(behind, streams.Err())...)
	})
	if err != nil {
		return fmt.Errorf("wait for the replicas of the streams: %w", err)
	}
	return nil
}

// lagging returns nil where all replicas of a stream are current.
func lagging(info *jetstream.StreamInfo) error {
	if info.Cluster == nil || info.Cluster.Leader == "" {
		return fmt.Errorf("stream %s has no leader", info.Config.Name)
	}
	for _, peer := range info.Cluster.Replicas {
		if !peer.Current || peer.Offline {
			return fmt.Errorf("stream %s: replica on %s is behind (%d operations)", info.Config.Name, peer.Name, peer.Lag)
		}
	}
	return nil
}
