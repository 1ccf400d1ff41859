package natstest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natsserver"
)

const (
	clusterTimeout = 2 * time.Minute // from the start to a stream on all servers
	clusterPoll    = 50 * time.Millisecond
	clusterProbe   = "NATSTEST_READY" // stream that is made and deleted to see whether the cluster is ready
)

// RunCluster starts a cluster for the length of the test and returns its servers
// when they take streams with size replicas. configure is called for every server.
func RunCluster(tb testing.TB, size int, configure ...func(*natsserver.Options)) []*natsserver.Server {
	tb.Helper()
	servers := startCluster(tb, size, configure)
	ctx, cancel := context.WithTimeout(tb.Context(), clusterTimeout)
	defer cancel()
	urls := make([]string, len(servers))
	for i, s := range servers {
		urls[i] = s.URL()
	}
	if err := awaitCluster(ctx, tb, urls); err != nil {
		tb.Fatalf("wait for cluster of %d: %v", size, err)
	}
	return servers
}

func startCluster(tb testing.TB, size int, configure []func(*natsserver.Options)) []*natsserver.Server {
	tb.Helper()
	var failed error
	for range startAttempts {
		servers, err := tryCluster(tb, size, configure)
		if err == nil {
			for _, s := range servers {
				tb.Cleanup(s.Shutdown)
			}
			return servers
		}
		failed = errors.Join(failed, err)
	}
	tb.Fatalf("start cluster of %d: %v", size, failed)
	return nil
}

func tryCluster(tb testing.TB, size int, configure []func(*natsserver.Options)) ([]*natsserver.Server, error) {
	tb.Helper()
	ports, err := freePorts(tb.Context(), 2*size)
	if err != nil {
		return nil, err
	}
	clientPorts, clusterPorts := ports[:size], ports[size:]
	var servers []*natsserver.Server
	for i := range size {
		options := natsserver.Options{
			Name:     fmt.Sprintf("n%d", i+1),
			Port:     clientPorts[i],
			StoreDir: tb.TempDir(),
			Cluster:  natsserver.Cluster{Name: "test", Port: clusterPorts[i], Routes: routes(clusterPorts)},
		}
		for _, change := range configure {
			change(&options)
		}
		s, err := natsserver.Start(options)
		if err != nil {
			shutdown(servers)
			return nil, err
		}
		servers = append(servers, s)
	}
	return servers, nil
}

func routes(ports []int) []string {
	urls := make([]string, len(ports))
	for i, port := range ports {
		urls[i] = "nats://" + address(port)
	}
	return urls
}

func shutdown(servers []*natsserver.Server) {
	for _, s := range servers {
		s.Shutdown()
	}
}

// awaitCluster returns when every server answers for JetStream and a stream with a
// replica on each can be made.
func awaitCluster(ctx context.Context, tb testing.TB, urls []string) error {
	tb.Helper()
	var js jetstream.JetStream
	for _, url := range urls {
		nc := Connect(tb, url)
		defer nc.Close()
		js = JetStream(tb, nc)
		if err := retry(ctx, func(ctx context.Context) error {
			_, err := js.AccountInfo(ctx)
			return err
		}); err != nil {
			return fmt.Errorf("ask %s for account: %w", url, err)
		}
	}
	return probeCluster(ctx, js, len(urls))
}

func probeCluster(ctx context.Context, js jetstream.JetStream, size int) error {
	config := jetstream.StreamConfig{Name: clusterProbe, Replicas: size, Storage: jetstream.MemoryStorage}
	if err := retry(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, config)
		return err
	}); err != nil {
		return fmt.Errorf("create stream with %d replicas: %w", size, err)
	}
	if err := retry(ctx, func(ctx context.Context) error {
		err := js.DeleteStream(ctx, clusterProbe)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return err
	}); err != nil {
		return fmt.Errorf("delete stream: %w", err)
	}
	return nil
}

// retry calls try until it gives no error or ctx ends.
func retry(ctx context.Context, try func(context.Context) error) error {
	poll := time.NewTicker(clusterPoll)
	defer poll.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-poll.C:
		}
	}
}
