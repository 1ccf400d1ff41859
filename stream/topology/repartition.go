package topology

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/wire"
)

// Step is a part of the way to another number of partitions.
type Step string

// The steps, in order.
const (
	Switch   Step = "switch"   // updates are stored in the new layout from now on
	Drain    Step = "drain"    // workers commit what is stored in the old one
	Position Step = "position" // the new partitions get the positions that they begin at
	HandOver Step = "handover" // workers give the old partitions up and claim the new ones
)

// Progress is how far a step has come.
type Progress struct {
	Step  Step `json:"step"`
	Done  int  `json:"done"`  // partitions
	Total int  `json:"total"` // partitions
}

// Repartition changes the number of partitions of a deployment while it runs.
// Nothing is lost, repeated or reordered: no update of the new layout is routed
// before all of the old one are committed. It may be interrupted anywhere, and
// goes on when it is run again.
type Repartition struct {
	js          jetstream.JetStream
	subjects    wire.Subjects
	layouts     deployment.Layouts
	checkpoints checkpoint.Store
	continuity  *checkpoint.Continuity
	partitions  int
	wait        time.Duration
	told        func(Progress)
}

// RepartitionConfig is what a Repartition is configured with.
type RepartitionConfig struct {
	Prefix     string         // of the deployment's subjects
	Partitions int            // that it is to have, 1 to 256
	Wait       time.Duration  // bound on waiting for workers while they do not go on
	Progress   func(Progress) // is told now and then how far it is; may be nil
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (c RepartitionConfig) Validate() error {
	return fault.Within("partitions", c.Partitions, 1, deployment.MaxPartitions)
}

// Repartitioned is what became of a Repartition.
type Repartitioned struct {
	Before  wire.Layout `json:"before"`
	Now     wire.Layout `json:"now"`
	Changed bool        `json:"changed"` // false where the deployment had that number of partitions

	// Overtaken is the sequence of the first update that was stored in the new layout
	// before others were stored in the old one, 0 for none. It and those behind it are
	// delivered after newer updates of their users. A server does that if its disk is full
	// just when it is asked for the new layout: it uses the layout, cannot write it down,
	// and has forgotten it when it starts again.
	Overtaken uint64 `json:"overtaken,omitempty"`
}

// NewRepartition returns a change of the deployment on the server of js.
func NewRepartition(js jetstream.JetStream, config RepartitionConfig) (*Repartition, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	subjects, err := wire.NewSubjects(config.Prefix)
	if err != nil {
		return nil, err
	}
	if config.Progress == nil {
		config.Progress = func(Progress) {}
	}
	points := checkpoint.NewStore(js, subjects)
	return &Repartition{
		js: js, subjects: subjects, layouts: deployment.NewLayouts(js, subjects, points.Has), checkpoints: points,
		continuity: checkpoint.NewContinuity(js, subjects, nil),
		partitions: config.Partitions, wait: config.Wait, told: config.Progress,
	}, nil
}

// Run changes the number of partitions, or goes on with it. The error wraps
// ErrRefused where a change to another number is under way.
func (r *Repartition) Run(ctx context.Context) (Repartitioned, error) {
	var record wire.LayoutRecord
	err := r.insist(ctx, func(ctx context.Context) (err error) {
		record, err = r.begin(ctx)
		return err
	})
	if err != nil {
		return Repartitioned{}, err
	}
	if record.Move == nil {
		return Repartitioned{Before: record.Serving, Now: record.Serving}, nil
	}
	from, move := record.Serving, *record.Move
	done := Repartitioned{Before: from, Now: move.To, Changed: true}
	r.told(Progress{Step: Switch, Total: move.To.Partitions})
	if err := r.await(ctx, Drain, from.Partitions, r.draining(from, move)); err != nil {
		return Repartitioned{}, fmt.Errorf("%w; updates are stored and wait; run the command again to go on", err)
	}
	err = r.insist(ctx, func(ctx context.Context) (err error) {
		done.Overtaken, err = r.overtaken(ctx, from, move)
		return err
	})
	if err != nil {
		return Repartitioned{}, err
	}
	if err := r.insist(ctx, func(ctx context.Context) error { return r.scale(ctx, move.Replicas) }); err != nil {
		return Repartitioned{}, err
	}
	if err := r.insist(ctx, func(ctx context.Context) error { return r.position(ctx, from, move) }); err != nil {
		return Repartitioned{}, err
	}
	if err := r.insist(ctx, func(ctx context.Context) error { return r.announce(ctx, move.To) }); err != nil {
		return Repartitioned{}, err
	}
	if err := r.handOver(ctx, move.To); err != nil {
		return done, err
	}
	return done, r.insist(ctx, r.restored)
}

// begin returns the record of the move that is to be made, which is stored before
// anything is changed; without a move where there is nothing to do.
func (r *Repartition) begin(ctx context.Context) (wire.LayoutRecord, error) {
	d, err := r.layouts.Divided(ctx)
	if err != nil {
		return wire.LayoutRecord{}, err
	}
	if err := d.Record.Intact(); err != nil {
		return wire.LayoutRecord{}, err
	}
	if err := d.Known(); err != nil {
		return wire.LayoutRecord{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if m := d.Move(); m != nil {
		if m.To.Partitions != r.partitions {
			return wire.LayoutRecord{}, fmt.Errorf("%w: %s: finish it with router-worker topology repartition %d", ErrRefused, d.Describe(), m.To.Partitions)
		}
		if d.Waits() {
			return d.Record.LayoutRecord, nil
		}
		return d.Record.LayoutRecord, r.layouts.Store(ctx, d.Record.LayoutRecord, d.Record.Revision) // It begins now.
	}
	stored, updates := d.Stored, d.Updates
	if stored.Partitions == r.partitions {
		return wire.LayoutRecord{Serving: stored}, nil
	}
	if err := replicated(updates); err != nil {
		return wire.LayoutRecord{}, err
	}
	newest, err := r.newestGeneration(ctx)
	if err != nil {
		return wire.LayoutRecord{}, err
	}
	record := wire.LayoutRecord{Serving: stored, Move: &wire.LayoutMove{
		To:       wire.Layout{Generation: max(stored.Generation, newest) + 1, Partitions: r.partitions},
		Sequence: updates.State.LastSeq, Time: updates.State.LastTime, Created: updates.Created,
		Replicas: updates.Config.Replicas,
	}}
	return record, r.layouts.Store(ctx, record, d.Record.Revision)
}

// announce has workers serve the layout to, where they do not yet.
func (r *Repartition) announce(ctx context.Context, to wire.Layout) error {
	record, err := r.layouts.Record(ctx)
	switch {
	case err != nil:
		return err
	case record.Foreign != nil:
		return record.Intact()
	case record.Move == nil && record.Serving == to:
		return nil
	case record.Move == nil || record.Move.To != to:
		return deployment.ErrChanged
	}
	return r.layouts.Store(ctx, wire.LayoutRecord{Serving: to}, record.Revision)
}

// newestGeneration returns the highest generation that has checkpoints. Other messages,
// which anybody may have had stored there, count for nothing.
func (r *Repartition) newestGeneration(ctx context.Context) (int, error) {
	name := r.subjects.DeliveriesStream()
	deliveries, err := r.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := deliveries.Info(ctx, jetstream.WithSubjectFilter(r.subjects.Checkpoints()))
	if err != nil {
		return 0, fmt.Errorf("look up the checkpoints in stream %s: %w", name, err)
	}
	newest := 0
	for subject := range info.State.Subjects {
		generation, partition, err := r.subjects.ParseCheckpoint(subject)
		if err != nil || generation <= newest {
			continue
		}
		found, err := r.checkpoints.Read(ctx, deployment.Partition{Generation: generation, Number: partition})
		if err != nil {
			return 0, err
		}
		if found.At > 0 {
			newest = generation
		}
	}
	return newest, nil
}

// position gives the new partitions the position that they begin at: where the
// stream was before the first update of the new layout. The epoch is the newest of
// the old ones, so that for readers the positions only grow.
func (r *Repartition) position(ctx context.Context, from wire.Layout, move wire.LayoutMove) error {
	begin := checkpoint.Position{Epoch: move.Created.UnixMilli(), Sequence: move.Sequence, Time: move.Time, Created: move.Created}
	for n := range from.Partitions {
		found, err := r.checkpoints.Read(ctx, deployment.Partition{Generation: from.Generation, Number: n})
		if err != nil {
			return err
		}
		begin.Epoch = max(begin.Epoch, found.Epoch)
	}
	first := begin.Checkpoint(checkpoint.Repartitioner, "repartition-"+rand.Text())
	for n := range move.To.Partitions {
		id := deployment.Partition{Generation: move.To.Generation, Number: n}
		found, err := r.checkpoints.Read(ctx, id)
		if err != nil {
			return err
		}
		if found.At > 0 && found.Worker != checkpoint.Repartitioner {
			return deployment.ErrChanged // workers serve it
		}
		if _, err := r.checkpoints.Write(ctx, id, found.Revision, first); err != nil {
			return fmt.Errorf("write the position of partition %d: %w", n, err)
		}
		r.told(Progress{Step: Position, Done: n + 1, Total: move.To.Partitions})
	}
	return nil
}
