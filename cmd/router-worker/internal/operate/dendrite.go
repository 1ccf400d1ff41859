package operate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/source/dendrite"
)

// FollowDendrites connects and publishes the presence of the configured Dendrites until
// ctx ends, then finishes what it has in hand and returns nil. The error says what kept
// it from starting.
func (p Process) FollowDendrites(ctx context.Context) error {
	c := p.Config
	if err := c.CheckDendrites(); err != nil {
		return err
	}
	options, err := p.dendriteOptions()
	if err != nil {
		return err
	}
	id := rand.Text()[:8]
	p.Log.Info("starting to follow", "version", p.Version, "process", id, "dendrites", len(c.Sources.Dendrite), "nats", c.NATS.URL)
	if !c.Streams.State.Enabled {
		p.Log.Info("newest states are not kept: where Dendrite leaves a status open, this process knows only what it has seen itself")
	}
	return p.connected(ctx, id, func(ctx context.Context, nc *nats.Conn, t *Telemetry, ready *Readiness) error {
		ready.Waiting("connecting to Dendrite's NATS")
		var sources []*dendrite.Source
		for i, d := range c.Sources.Dendrite {
			from, err := Connect(ctx, d.NATS.Beside(c.NATS), p.Log.With("source", d.ServerNames[0]), options[i]...)
			if err != nil {
				return ignoreEnd(ctx, fmt.Errorf("sources.dendrite[%d]: %w", i, err))
			}
			defer from.Close()
			source, err := p.newDendrite(d, from, nc, t)
			if err != nil {
				return fmt.Errorf("make sources.dendrite[%d]: %w", i, err)
			}
			sources = append(sources, source)
		}
		return follow(ctx, sources, ready)
	})
}

// dendriteOptions returns how to connect to the NATS of each Dendrite. The error joins a
// *fault.Field for each file that cannot be read.
func (p Process) dendriteOptions() (all [][]nats.Option, err error) {
	var faults []error
	for i, d := range p.Config.Sources.Dendrite {
		path := fmt.Sprintf("sources.dendrite[%d].nats", i)
		options, err := connectOptions(d.NATS.Beside(p.Config.NATS))
		all = append(all, options)
		faults = append(faults, fault.Under(path, err))
		warnOfMode(p.Log, path+".credentials", d.NATS.Credentials)
		warnOfMode(p.Log, path+".tls.key", d.NATS.TLS.Key)
	}
	return all, errors.Join(faults...)
}

func (p Process) newDendrite(d config.Dendrite, from, to *nats.Conn, t *Telemetry) (*dendrite.Source, error) {
	c := d.Source()
	c.Prefix, c.RouterAPIPrefix, c.LookUp = p.Config.Streams.Prefix, p.Config.Sources.APIPrefix, p.Config.Streams.State.Enabled
	return dendrite.New(from, to, c, dendrite.WithLogger(p.Log.With("source", d.ServerNames[0])), dendrite.WithMeterProvider(t.Meters))
}

// follow runs the sources until ctx ends.
func follow(ctx context.Context, sources []*dendrite.Source, ready *Readiness) error {
	ready.Set(func() error {
		var waiting []error
		for _, s := range sources {
			waiting = append(waiting, s.Ready())
		}
		return errors.Join(waiting...)
	})
	errs := make([]error, len(sources))
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() { errs[i] = s.Run(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
