package natsserver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/natsserver"
)

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options natsserver.Options
		want    string // path of the fault, "" for none
	}{
		{name: "a directory is enough", options: natsserver.Options{StoreDir: "d"}},
		{name: "no directory", options: natsserver.Options{}, want: "store_dir"},
		{name: "port below 0", options: natsserver.Options{StoreDir: "d", Port: -1}, want: "port"},
		{name: "port above 65535", options: natsserver.Options{StoreDir: "d", Port: 65536}, want: "port"},
		{name: "negative memory", options: natsserver.Options{StoreDir: "d", MaxMemory: -1}, want: "max_memory"},
		{name: "negative store", options: natsserver.Options{StoreDir: "d", MaxStore: -1}, want: "max_store"},
		{name: "payload above 8 MiB", options: natsserver.Options{StoreDir: "d", MaxPayload: 8<<20 + 1}, want: "max_payload"},
		{name: "negative sync interval", options: natsserver.Options{StoreDir: "d", SyncInterval: -time.Second}, want: "sync_interval"},
		{name: "negative ready timeout", options: natsserver.Options{StoreDir: "d", ReadyTimeout: -time.Second}, want: "ready_timeout"},
		{
			name:    "nameless server in a cluster",
			options: natsserver.Options{StoreDir: "d", Cluster: natsserver.Cluster{Name: "c", Port: 6222}},
			want:    "name",
		},
		{
			name:    "cluster without a port",
			options: natsserver.Options{StoreDir: "d", Name: "n", Cluster: natsserver.Cluster{Name: "c"}},
			want:    "cluster.port",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := faultPath(test.options.Validate()); got != test.want {
				t.Errorf("Validate(%+v) blames %q, want %q", test.options, got, test.want)
			}
		})
	}
}

func faultPath(err error) string {
	var field *fault.Field
	if !errors.As(err, &field) {
		return ""
	}
	return field.Path
}
