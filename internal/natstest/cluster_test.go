package natstest_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestRunClusterReplicates(t *testing.T) {
	t.Parallel()
	servers := natstest.RunCluster(t, 3)
	if len(servers) != 3 {
		t.Fatalf("cluster has %d servers, want 3", len(servers))
	}
	js := natstest.JetStream(t, natstest.Connect(t, servers[0].URL()))
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Replicas: 3}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatalf("create stream: %v", err)
	}
	if _, err := js.Publish(t.Context(), "kept", []byte("x")); err != nil {
		t.Fatalf("publish: %v", err)
	}
	for _, s := range servers {
		wantOneMessage(t, natstest.Connect(t, s.URL()))
	}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		if name != "KEPT" {
			t.Errorf("stream %s is left over", name)
		}
	}
	if err := names.Err(); err != nil {
		t.Errorf("list streams: %v", err)
	}
}
