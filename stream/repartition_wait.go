package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// surveyPause is how long it takes until workers are looked after again.
const surveyPause = 200 * time.Millisecond

// survey is how far workers have come.
type survey struct {
	done  int    // partitions
	sum   uint64 // grows whenever a partition goes on
	lacks error  // what is missing, of one partition
}

// await looks until total partitions are done, or until nothing goes on for too
// long.
func (r *Repartition) await(ctx context.Context, step Step, total int, look func(context.Context) (survey, error)) error {
	furthest, since := survey{}, time.Now()
	for {
		now, err := look(ctx)
		if ended(ctx) {
			return fmt.Errorf("wait for workers: %w", context.Cause(ctx))
		}
		if err == nil {
			r.told(Progress{Step: step, Done: now.done, Total: total})
			if now.done == total {
				return nil
			}
			if now.done > furthest.done || now.sum > furthest.sum {
				furthest, since = now, time.Now()
			}
			err = now.lacks
		}
		if time.Since(since) > r.wait {
			return fmt.Errorf("wait for workers: %d of %d partitions are left, and nothing went on for %v: %w", total-furthest.done, total, r.wait, err)
		}
		pause(ctx, surveyPause)
	}
}

// insist tries until it works out, as long as workers are waited for. What is
// refused is not tried again.
func (r *Repartition) insist(ctx context.Context, try func(context.Context) error) error {
	for began := time.Now(); ; {
		err := try(ctx)
		if err == nil || errors.Is(err, ErrRefused) || final(err) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		if ended(ctx) || time.Since(began) > r.wait {
			return err
		}
		pause(ctx, surveyPause)
	}
}

// draining has updates stored in the layout to, and looks how far those are
// committed that were stored in from.
func (r *Repartition) draining(from, to wire.Layout) func(context.Context) (survey, error) {
	return func(ctx context.Context) (survey, error) {
		if err := r.divert(ctx, to); err != nil {
			return survey{}, err
		}
		if err := r.settle(ctx); err != nil {
			return survey{}, err
		}
		return r.drained(ctx, from)
	}
}

// divert has the server store updates in the layout to from now on.
func (r *Repartition) divert(ctx context.Context, to wire.Layout) error {
	stored, info, err := r.layouts.stored(ctx)
	if err != nil || stored == to {
		return err
	}
	config := info.Config
	config.SubjectTransform = &jetstream.SubjectTransformConfig{
		Source: r.subjects.Updates(), Destination: r.subjects.In(to.Generation).UpdateTransform(to.Partitions),
	}
	if _, err := r.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("update stream %s: %w", config.Name, err)
	}
	return nil
}

// settle returns once every update can be read that the server accepted before it
// stored them in the new layout. Where the stream has replicas, such an update may
// still be on its way through them. What is sent after it is done after it, and
// the least to send is to purge a subject that is none of stored updates.
func (r *Repartition) settle(ctx context.Context) error {
	updates, err := r.js.Stream(ctx, r.subjects.UpdatesStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", r.subjects.UpdatesStream(), err)
	}
	nothing := r.subjects.Prefix() + ".nothing"
	if err := updates.Purge(ctx, jetstream.WithPurgeSubject(nothing)); err != nil {
		return fmt.Errorf("purge %s of stream %s: %w", nothing, r.subjects.UpdatesStream(), err)
	}
	return nil
}

// drained looks how far the updates are committed that are stored in layout.
func (r *Repartition) drained(ctx context.Context, layout wire.Layout) (survey, error) {
	_, info, err := r.layouts.stored(ctx)
	if err != nil {
		return survey{}, err
	}
	updates := leader{nc: r.js.Conn(), stream: r.subjects.UpdatesStream()}
	var s survey
	for n := range layout.Partitions {
		id := partitionID{layout.Generation, n}
		last, err := updates.get(ctx, getRequest{LastSubject: id.updates(r.subjects)})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			s.done++
			continue
		}
		if err != nil {
			return survey{}, err
		}
		found, err := r.claimer.checkpoints.read(ctx, id)
		if err != nil {
			return survey{}, err
		}
		s.sum += found.Sequence
		if found.revision > 0 && found.Created.Equal(info.Created) && found.position().next() > last.Sequence {
			s.done++
			continue
		}
		s.lacks = fmt.Errorf("partition %d is committed up to update %d, its last one is %d: see whether workers run, and what they wait for", n, found.Sequence, last.Sequence)
	}
	return s, nil
}

// handOver waits until workers have claimed the partitions of the layout to, if
// there are workers.
func (r *Repartition) handOver(ctx context.Context, from, to wire.Layout) error {
	running, err := r.workers(ctx)
	if err != nil {
		return err
	}
	if running > 0 {
		if err := r.await(ctx, HandOver, to.Partitions, r.claimed(to)); err != nil {
			return fmt.Errorf("the number of partitions is changed, but not all are served: %w", err)
		}
	}
	late, err := r.drained(ctx, from)
	if err != nil || late.done == from.Partitions {
		return err
	}
	return fmt.Errorf("the leader of the updates stream changed at the moment of the switch, and stored updates in the old layout afterwards; publish those users' presence again: %w", late.lacks)
}

// claimed looks how many partitions of a layout workers have claimed.
func (r *Repartition) claimed(layout wire.Layout) func(context.Context) (survey, error) {
	return func(ctx context.Context) (survey, error) {
		var s survey
		for n := range layout.Partitions {
			found, err := r.claimer.checkpoints.read(ctx, partitionID{layout.Generation, n})
			if err != nil {
				return survey{}, err
			}
			s.sum += found.revision
			if found.Worker != repartitioner {
				s.done++
				continue
			}
			s.lacks = fmt.Errorf("partition %d is not claimed: see whether workers run", n)
		}
		return s, nil
	}
}

// workers returns how many workers have a heartbeat.
func (r *Repartition) workers(ctx context.Context) (int, error) {
	name := r.subjects.WorkersStream()
	bucket, err := r.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := bucket.Info(ctx, jetstream.WithSubjectFilter(r.subjects.Heartbeats()))
	if err != nil {
		return 0, fmt.Errorf("look up the heartbeats in stream %s: %w", name, err)
	}
	delete(info.State.Subjects, r.subjects.LayoutRecord())
	return len(info.State.Subjects), nil
}
