package natsserver

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/presence-router/presence-router/internal/fault"
)

const (
	defaultHost         = "127.0.0.1"
	defaultReadyTimeout = time.Minute
)

// Options says how a server runs. StoreDir is required; the zero value of every
// other field is its default.
type Options struct {
	Host         string        // address to listen on; 127.0.0.1 where empty
	Port         int           // a free port where 0
	Name         string        // unique in a cluster; made up by the server where empty
	StoreDir     string        // directory of the file streams; the same directory brings the streams back
	MaxMemory    int64         // bytes that memory streams may take; three quarters of the machine's where 0
	MaxStore     int64         // bytes that file streams may take; what the disk has left where 0
	MaxPayload   int           // bytes of the largest message; 1 MiB where 0
	SyncInterval time.Duration // time between two fsyncs of a stream; 2 minutes where 0
	ReadyTimeout time.Duration // bound on the start; a minute where 0
	Cluster      Cluster       // no cluster where zero
	Logger       *slog.Logger  // receives what the server logs; nothing is logged where nil
}

// Cluster says how a server finds the others of its cluster.
type Cluster struct {
	Name   string
	Port   int      // where the other servers connect to
	Routes []string // URLs of all servers of the cluster, such as nats://127.0.0.1:6222
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (o Options) Validate() error {
	return errors.Join(
		fault.Check(o.StoreDir != "", "store_dir", o.StoreDir, "a directory"),
		fault.Check(0 <= o.Port && o.Port <= math.MaxUint16, "port", o.Port, "0 to 65535"),
		fault.Check(o.MaxMemory >= 0, "max_memory", o.MaxMemory, "0 or more bytes"),
		fault.Check(o.MaxStore >= 0, "max_store", o.MaxStore, "0 or more bytes"),
		fault.Check(0 <= o.MaxPayload && o.MaxPayload <= server.MAX_PAYLOAD_MAX_SIZE, "max_payload", o.MaxPayload,
			fmt.Sprintf("0 to %d bytes", server.MAX_PAYLOAD_MAX_SIZE)),
		fault.Check(o.SyncInterval >= 0, "sync_interval", o.SyncInterval, "0s or more"),
		fault.Check(o.ReadyTimeout >= 0, "ready_timeout", o.ReadyTimeout, "0s or more"),
		fault.Check(o.Name != "" || o.Cluster.Name == "", "name", o.Name, "a name in a cluster"),
		fault.Check((o.Cluster.Name == "") == (o.Cluster.Port == 0), "cluster.port", o.Cluster.Port, "a port with a name, 0 without"),
	)
}

func (o Options) withDefaults() Options {
	if o.Host == "" {
		o.Host = defaultHost
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = defaultReadyTimeout
	}
	return o
}
