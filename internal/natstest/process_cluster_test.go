package natstest_test

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

// TestProcessClusterSurvivesItsLeader stops the server that leads a stream: another
// one leads it on, and the first one catches up when it comes back.
func TestProcessClusterSurvivesItsLeader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*eventTimeout)
	defer cancel()
	c := natstest.StartProcessCluster(t, 3, natstest.ProcessOptions{Binary: build(t)})
	nc := natstest.Connect(t, c.URL())
	if known := nc.DiscoveredServers(); len(known) > 0 {
		t.Errorf("the servers told of %v, want none", known)
	}
	js := natstest.JetStream(t, nc)
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Replicas: 3}
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	first, err := c.Leader(ctx, js, "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if first.Running() {
		t.Errorf("%s runs on after Stop", first.Name())
	}
	if _, err := js.Publish(ctx, "kept", []byte("x"), jetstream.WithRetryAttempts(100)); err != nil {
		t.Fatalf("publish without %s: %v", first.Name(), err)
	}
	if next, err := c.Leader(ctx, js, "KEPT"); err != nil || next == first {
		t.Errorf("leader without %s is %v, %v", first.Name(), next, err)
	}
	if err := first.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitCurrent(ctx, js); err != nil {
		t.Error(err)
	}
}
