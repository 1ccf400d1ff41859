package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
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
		if wait.Ended(ctx) {
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
			return fmt.Errorf("wait for workers: %d of %s left, and nothing went on for %v: %w",
				total-furthest.done, plural.Of(total, "partition is", "partitions are"), r.wait, err)
		}
		wait.Pause(ctx, surveyPause)
	}
}

// insist tries until it works out, as long as workers are waited for. What is
// refused is not tried again.
func (r *Repartition) insist(ctx context.Context, try func(context.Context) error) error {
	for began := time.Now(); ; {
		err := try(ctx)
		if err == nil || errors.Is(err, ErrRefused) || jsapi.Classify(err).IsFinal() || errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		if wait.Ended(ctx) || time.Since(began) > r.wait {
			return err
		}
		wait.Pause(ctx, surveyPause)
	}
}

// draining has updates stored in the layout of a move, and looks how far those are
// committed that were stored in from.
func (r *Repartition) draining(from wire.Layout, move wire.LayoutMove) func(context.Context) (survey, error) {
	return func(ctx context.Context) (survey, error) {
		if err := r.divert(ctx, move); err != nil {
			return survey{}, err
		}
		return r.drained(ctx, from)
	}
}

// divert has the server store updates in the layout of a move from now on. Each
// replica of a stream computes the subjects of what it stores, and learns of a new
// transform by itself: near the change, replicas would hold one update under two
// subjects. So the stream has one replica while the transform is changed.
func (r *Repartition) divert(ctx context.Context, move wire.LayoutMove) error {
	stored, info, err := r.layouts.Stored(ctx)
	if err != nil {
		return err
	}
	if stored == move.To {
		return r.scale(ctx, move.Replicas)
	}
	if err := r.intends(ctx, move); err != nil {
		return err
	}
	if err := r.scale(ctx, 1); err != nil {
		return err
	}
	config := info.Config
	config.Replicas = 1
	config.SubjectTransform = &jetstream.SubjectTransformConfig{
		Source: r.subjects.Updates(), Destination: r.subjects.In(move.To.Generation).UpdateTransform(move.To.Partitions),
	}
	if _, err := r.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("update stream %s: %w", config.Name, err)
	}
	return r.scale(ctx, move.Replicas)
}

// intends returns nil if the layout record tells workers of a move, so that they wait.
func (r *Repartition) intends(ctx context.Context, move wire.LayoutMove) error {
	record, err := r.layouts.Record(ctx)
	switch {
	case err != nil:
		return err
	case record.Foreign != nil:
		return record.Intact()
	case record.Move == nil || record.Move.To != move.To:
		return deployment.ErrChanged
	}
	return nil
}

// errScaling says that the servers are not done yet with what they were asked for.
var errScaling = errors.New("the updates stream does not have its number of replicas yet")

// scale gives the updates stream a number of replicas, and returns nil once its
// leader knows of it. One replica is alone only once it has no Raft group any more:
// replicas that are added to the old group again take what was stored from its log,
// and compute the subjects anew, with the transform of then.
func (r *Repartition) scale(ctx context.Context, replicas int) error {
	_, info, err := r.layouts.Stored(ctx)
	if err != nil {
		return err
	}
	if info.Config.Replicas != replicas {
		config := info.Config
		config.Replicas = replicas
		if _, err := r.js.UpdateStream(ctx, config); err != nil {
			return fmt.Errorf("give stream %s %s: %w", config.Name, plural.Of(replicas, "replica", "replicas"), err)
		}
		if _, info, err = r.layouts.Stored(ctx); err != nil {
			return err
		}
	}
	if info.Config.Replicas != replicas || replicas == 1 && info.Cluster != nil && info.Cluster.RaftGroup != "" {
		return errScaling
	}
	return nil
}

// restored returns nil once the updates stream has all of its replicas again.
func (r *Repartition) restored(ctx context.Context) error {
	_, updates, err := r.layouts.Stored(ctx)
	if err != nil {
		return err
	}
	if err := replicated(updates); err != nil {
		return fmt.Errorf("the number of partitions is changed, but %w", err)
	}
	return nil
}

// replicated returns an error where a replica of the updates stream is missing,
// offline or behind.
func replicated(updates *jetstream.StreamInfo) error {
	if updates.Cluster == nil {
		return nil
	}
	if have, want := len(updates.Cluster.Replicas)+1, updates.Config.Replicas; have < want {
		return fmt.Errorf("stream %s has %d of %d replicas", updates.Config.Name, have, want)
	}
	for _, replica := range updates.Cluster.Replicas {
		if replica.Offline || !replica.Current {
			return fmt.Errorf("the replica of stream %s on server %s is not current (offline: %t)", updates.Config.Name, replica.Name, replica.Offline)
		}
	}
	return nil
}

// drained looks how far the updates are committed that are stored in layout.
func (r *Repartition) drained(ctx context.Context, layout wire.Layout) (survey, error) {
	updates := jsapi.Leader{NC: r.js.Conn(), Stream: r.subjects.UpdatesStream()}
	var s survey
	for n := range layout.Partitions {
		id := deployment.Partition{Generation: layout.Generation, Number: n}
		last, err := updates.Get(ctx, jsapi.MessageRequest{LastSubject: id.Updates(r.subjects)})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			s.done++
			continue
		}
		if err != nil {
			return survey{}, err
		}
		found, err := r.checkpoints.Read(ctx, id)
		if err != nil {
			return survey{}, err
		}
		s.sum += found.Sequence
		lacks, err := r.uncommitted(ctx, found, last.Sequence)
		if err != nil {
			return survey{}, err
		}
		if lacks == "" {
			s.done++
			continue
		}
		s.lacks = fmt.Errorf("partition %d %s: see whether workers run, and what they wait for", n, lacks)
	}
	return s, nil
}

// uncommitted says what is lacking until the update at last is committed, "" for
// nothing. A checkpoint from before the stream went back is about other updates, which
// had the same sequences.
func (r *Repartition) uncommitted(ctx context.Context, found checkpoint.Checkpoint, last uint64) (string, error) {
	at := found.Position()
	if found.At == 0 || at.Next() <= last {
		return fmt.Sprintf("is committed up to update %d, its last one is %d", at.Sequence, last), nil
	}
	_, info, err := r.layouts.Stored(ctx)
	if err != nil {
		return "", err
	}
	reason, err := r.continuity.Broken(ctx, at, info)
	if err != nil || reason == "" {
		return "", err
	}
	return fmt.Sprintf("is committed up to update %d of another history, as %s", at.Sequence, reason), nil
}

// overtaken returns the sequence of the first update in the layout of a move, if others
// were stored in from after it, else 0.
func (r *Repartition) overtaken(ctx context.Context, from wire.Layout, move wire.LayoutMove) (uint64, error) {
	updates := jsapi.Leader{NC: r.js.Conn(), Stream: r.subjects.UpdatesStream()}
	last, err := updates.Get(ctx, jsapi.MessageRequest{LastSubject: r.subjects.In(from.Generation).GenerationUpdates()})
	if err == nil {
		var first jsapi.Message
		first, err = updates.Get(ctx, jsapi.MessageRequest{NextSubject: r.subjects.In(move.To.Generation).GenerationUpdates(), Sequence: 1})
		if err == nil && first.Sequence < last.Sequence {
			return first.Sequence, nil
		}
	}
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = nil
	}
	return 0, err
}

// handOver waits until workers have claimed the partitions of the layout to, for as
// long as there are workers.
func (r *Repartition) handOver(ctx context.Context, to wire.Layout) error {
	if running, err := r.workers(ctx); err != nil || running == 0 {
		return err
	}
	claimed := r.claimed(to)
	err := r.await(ctx, HandOver, to.Partitions, func(ctx context.Context) (survey, error) {
		if running, err := r.workers(ctx); err != nil || running == 0 {
			return survey{done: to.Partitions}, err
		}
		return claimed(ctx)
	})
	if err != nil {
		return fmt.Errorf("the number of partitions is changed, but not all are served: %w", err)
	}
	return nil
}

// claimed looks how many partitions of a layout workers have claimed.
func (r *Repartition) claimed(layout wire.Layout) func(context.Context) (survey, error) {
	return func(ctx context.Context) (survey, error) {
		var s survey
		for n := range layout.Partitions {
			found, err := r.checkpoints.Read(ctx, deployment.Partition{Generation: layout.Generation, Number: n})
			if err != nil {
				return survey{}, err
			}
			s.sum += found.Revision
			if found.At > 0 && found.Worker != checkpoint.Repartitioner {
				s.done++
				continue
			}
			s.lacks = fmt.Errorf("partition %d is not claimed: see whether workers run", n)
		}
		return s, nil
	}
}

// workers returns how many workers there are that do not leave.
func (r *Repartition) workers(ctx context.Context) (int, error) {
	running := 0
	err := deployment.ReadHeartbeats(ctx, r.js, r.subjects, func(h wire.Heartbeat, _ time.Duration) {
		if !h.Leaving {
			running++
		}
	})
	return running, err
}
