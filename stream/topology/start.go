package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/wire"
)

// Verify returns an error naming every stream that is missing and every setting that
// workers cannot work with, and changes nothing.
func (t *Streams) Verify(ctx context.Context) error {
	changes, err := t.differences(ctx)
	if err != nil {
		return err
	}
	var differences []error
	for _, c := range changes {
		switch {
		case c.Action == Create:
			differences = append(differences, fmt.Errorf("stream %s is missing: make it with topology apply", c.Stream))
		case c.Action != Keep && (c.rank == needed || c.rank == foreign):
			differences = append(differences, fmt.Errorf("stream %s: %s is %s, configured is %s", c.Stream, c.Setting, c.Have, c.Want))
		}
	}
	return errors.Join(differences...)
}

// Start makes the streams that are missing and what workers need of the others, and
// returns the changes it made. What else differs it leaves: it is another worker's
// configuration, or an older one. The error wraps ErrRefused where no worker can work
// on what is there; nothing is changed then.
func (t *Streams) Start(ctx context.Context) (made []Change, err error) {
	d, replicas, err := t.suitable(ctx)
	if err != nil {
		return nil, err
	}
	for _, want := range t.streams(d.Stored) {
		changes, err := t.startStream(ctx, want, replicas)
		made = append(made, changes...)
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

// maxLooks bounds how often a worker that starts looks how updates are divided.
const maxLooks = 3

// suitable returns how updates are divided, and how many replicas streams have, or an
// error that wraps ErrRefused. Where the number of partitions changes between its looks,
// it looks again.
func (t *Streams) suitable(ctx context.Context) (d deployment.Division, replicas int, err error) {
	if d, err = t.divided(ctx); err != nil {
		return deployment.Division{}, 0, err
	}
	for range maxLooks {
		if replicas, err = t.replicas(ctx, d.Stored); !errors.Is(err, ErrRefused) {
			return d, replicas, err
		}
		again, failed := t.divided(ctx)
		if failed != nil || again.Stored == d.Stored {
			return deployment.Division{}, 0, errors.Join(err, failed)
		}
		d = again
	}
	return deployment.Division{}, 0, err
}

// replicas returns how many replicas streams have that are there, with updates stored in
// layout, or an error that wraps ErrRefused if workers cannot work on one of them.
func (t *Streams) replicas(ctx context.Context, layout wire.Layout) (int, error) {
	most := 1
	var refused []error
	for _, want := range t.streams(layout) {
		have, err := t.existing(ctx, want.Name)
		if err != nil {
			return 0, err
		}
		if have == nil {
			continue
		}
		most = max(most, have.Config.Replicas)
		refused = append(refused, Refusal(ranked(t.compare(have, want), foreign)))
	}
	return most, errors.Join(refused...)
}

// startStream makes one stream, with no fewer replicas than others have, or changes
// what workers need of it. That a limit cannot be set keeps no worker from its work.
func (t *Streams) startStream(ctx context.Context, want jetstream.StreamConfig, replicas int) ([]Change, error) {
	have, err := t.existing(ctx, want.Name)
	if err != nil {
		return nil, err
	}
	if have == nil {
		want.Replicas = max(want.Replicas, replicas)
		want.AllowBatchPublish = want.AllowBatchPublish && want.Replicas == 1
		err := t.create(ctx, want)
		if err == nil {
			return t.compare(nil, want), nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, err
		}
		if have, err = t.existing(ctx, want.Name); err != nil || have == nil { // Another worker made it.
			return nil, err
		}
	}
	differences := t.compare(have, want)
	necessary, limits := ranked(differences, needed), ranked(differences, bounds)
	if len(limits) > 0 {
		all := slices.Concat(necessary, limits)
		if t.update(ctx, have.Config, want, among(all)) == nil {
			return all, nil
		}
	}
	if len(necessary) == 0 {
		return nil, nil
	}
	if err := t.update(ctx, have.Config, want, among(necessary)); err != nil {
		return nil, err
	}
	return necessary, nil
}

// ranked returns the changes of settings of one rank.
func ranked(changes []Change, by rank) []Change {
	var of []Change
	for _, c := range changes {
		if c.rank == by && c.Action != Create && c.Action != Keep {
			of = append(of, c)
		}
	}
	return of
}

// among reports of which settings the changes are.
func among(changes []Change) func(setting string) bool {
	return func(setting string) bool {
		for _, c := range changes {
			if c.Setting == setting {
				return true
			}
		}
		return false
	}
}

// Different returns how the streams that are there differ from the configuration, as
// far as that matters to anybody. While the number of partitions is changed, the
// updates stream has one replica for a moment.
func (t *Streams) Different(ctx context.Context) ([]Change, error) {
	changes, err := t.differences(ctx)
	if err != nil {
		return nil, err
	}
	moving := slices.ContainsFunc(changes, func(c Change) bool { return c.moving })
	var differences []Change
	for _, c := range changes {
		scaled := moving && c.Stream == t.subjects.UpdatesStream() && c.Setting == "replicas"
		if c.Action != Create && c.Action != Keep && c.rank != idle && !scaled {
			differences = append(differences, c)
		}
	}
	return differences, nil
}

// MakeStream makes the stream of that name as it is configured, with no fewer replicas
// than the others have.
func (t *Streams) MakeStream(ctx context.Context, name string) error {
	d, err := t.divided(ctx)
	if err != nil {
		return err
	}
	replicas, at := 1, -1
	all := t.streams(d.Stored)
	for i, want := range all {
		if want.Name == name {
			at = i
		}
		have, err := t.existing(ctx, want.Name)
		if err != nil {
			return err
		}
		if have != nil {
			replicas = max(replicas, have.Config.Replicas)
		}
	}
	if at < 0 {
		return fmt.Errorf("stream %s: %w", name, jetstream.ErrStreamNotFound)
	}
	_, err = t.startStream(ctx, all[at], replicas)
	return err
}
