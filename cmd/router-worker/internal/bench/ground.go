package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	connectTimeout = 30 * time.Second
	readyTimeout   = 60 * time.Second
	attemptTimeout = 5 * time.Second
	readyPoll      = 50 * time.Millisecond
)

// ground is what measurements run on: servers, a connection to them, and streams
// that nobody else uses.
type ground struct {
	self     string
	dir      string // for stores and configurations
	servers  []*child
	url      string
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects
	streams  topology.Config
	made     bool // the streams are there
}

// newGround starts servers for s, or connects to those at url.
func newGround(ctx context.Context, self, url string, s site) (g *ground, err error) {
	g = &ground{self: self, url: url, streams: topology.DefaultConfig()}
	g.streams.Prefix = "bench-" + strings.ToLower(rand.Text()[:6])
	g.streams.Storage, g.streams.Replicas = s.storage, s.replicas
	g.streams.Updates.MaxBytes, g.streams.Deliveries.MaxBytes, g.streams.Dead.MaxBytes = -1, -1, -1 // A limit would be reserved for nothing.
	g.streams.State.Enabled = false                                                                 // Keeping the newest states is a part of publishing.
	if g.subjects, err = wire.NewSubjects(g.streams.Prefix); err != nil {
		return nil, err
	}
	if g.dir, err = os.MkdirTemp("", "router-worker-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory for the benchmark: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(ctx))
		}
	}()
	if url == "" {
		if g.servers, g.url, err = startServers(ctx, self, g.dir, s.replicas); err != nil {
			return g, err
		}
	}
	return g, g.connect(ctx)
}

func (g *ground) connect(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if g.nc, err = stream.Connect(ctx, g.url, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	g.js, err = g.publisher(nil)
	return err
}

// publisher returns a client that keeps as many acknowledgements outstanding as R
// is measured with, and tells failed of those that do not come.
func (g *ground) publisher(failed func(error)) (jetstream.JetStream, error) {
	options := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncMaxPending(pending), jetstream.WithPublishAsyncTimeout(time.Minute)}
	if failed != nil {
		options = append(options, jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed(err) }))
	}
	js, err := jetstream.New(g.nc, options...)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return js, nil
}

// renew makes the streams anew, empty. A cluster may need a moment to be ready.
func (g *ground) renew(ctx context.Context, partitions int) error {
	if err := g.clear(ctx); err != nil {
		return err
	}
	g.streams.Partitions = partitions
	topology, err := topology.New(g.js, g.streams)
	if err != nil {
		return err
	}
	g.made = true
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		err := attempt(ctx, topology)
		if err == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("make the streams: %w", err)
		}
	}
}

// attempt tries for a moment: a cluster without a leader does not answer at all.
func attempt(ctx context.Context, topology *topology.Streams) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	_, err := topology.Apply(ctx)
	return err
}

// clear deletes the streams. Who started no server is to leave nothing behind.
func (g *ground) clear(ctx context.Context) error {
	if !g.made {
		return nil
	}
	var errs []error
	for _, name := range []string{g.subjects.DeadStream(), g.subjects.DeliveriesStream(), g.subjects.UpdatesStream(), "KV_" + g.subjects.WorkersBucket()} {
		if err := g.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("delete stream %s: %w", name, err))
		}
	}
	g.made = len(errs) > 0
	return errors.Join(errs...)
}

// close ends the servers, or deletes the streams on given ones.
func (g *ground) close(ctx context.Context) error {
	var errs []error
	if g.nc != nil {
		if len(g.servers) == 0 {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			errs = append(errs, g.clear(ctx))
		}
		g.nc.Close()
	}
	errs = append(errs, stopAll(g.servers))
	if err := os.RemoveAll(g.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove the directory of the benchmark: %w", err))
	}
	return errors.Join(errs...)
}
