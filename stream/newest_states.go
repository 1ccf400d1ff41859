package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// errNoStates says that the stream of newest states is switched off.
var errNoStates = errors.New("newest states are not kept, see streams.state.enabled")

// newestStates reads the newest states of users from the stream that keeps them.
// What it returns is in order of the updates stream. Users whose newest update does
// not decode have none.
type newestStates struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects wire.Subjects
	enabled  bool
	layout   func() wire.Layout // that is served
	maxBytes int                // of one update
}

// of returns the newest states of users, at most maxGetSubjects.
func (n newestStates) of(ctx context.Context, users []presence.UserID) ([]wire.PlacedState, error) {
	if len(users) == 0 {
		return nil, nil
	}
	epochs, err := n.epochs(ctx)
	if err != nil {
		return nil, err
	}
	return n.in(ctx, epochs, users)
}

// in is of for those who know the epochs.
func (n newestStates) in(ctx context.Context, epochs epochs, users []presence.UserID) ([]wire.PlacedState, error) {
	subjects := make([]string, len(users))
	for i, user := range users {
		subjects[i] = n.subjects.State(user)
	}
	var states []wire.PlacedState
	for batch, err := range n.stream().batches(ctx, lastFor(subjects...)) {
		if err != nil {
			return nil, err
		}
		states = append(states, n.decode(batch, epochs)...)
	}
	sortByPosition(states)
	return states, nil
}

// all calls visit with the newest states of all users, part by part, each user once
// but for those whose state changes meanwhile.
func (n newestStates) all(ctx context.Context, epochs epochs, visit func([]wire.PlacedState) error) error {
	stream, err := n.js.Stream(ctx, n.subjects.StateStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", n.subjects.StateStream(), err)
	}
	last := stream.CachedInfo().State.LastSeq
	for batch, err := range n.stream().batches(ctx, from(1)) {
		if err != nil {
			return err
		}
		states := n.decode(batch, epochs)
		sortByPosition(states)
		if err := visit(states); err != nil {
			return err
		}
		if batch[len(batch)-1].Sequence >= last {
			return nil
		}
	}
	return nil
}

func (n newestStates) stream() directGet {
	return directGet{nc: n.nc, stream: n.subjects.StateStream()}
}

// decode leaves out what the stream path would make a dead letter of, and states
// that were stored before the epoch of their partition began: nobody can tell
// whether they are newer than what was routed since.
func (n newestStates) decode(batch []gotten, epochs epochs) []wire.PlacedState {
	states := make([]wire.PlacedState, 0, len(batch))
	for _, g := range batch {
		state, err := wire.DecodeUpdate(g.Data, g.origin, n.maxBytes)
		if err != nil || g.origin == 0 || n.subjects.State(state.UserID) != g.Subject {
			continue
		}
		if epoch := epochs.of(state.UserID); g.Time.UnixMilli() >= epoch {
			states = append(states, wire.PlacedState{Epoch: epoch, State: state})
		}
	}
	return states
}

func sortByPosition(states []wire.PlacedState) {
	slices.SortFunc(states, func(a, b wire.PlacedState) int {
		return cmp.Compare(a.State.Published().Position, b.State.Published().Position)
	})
}

// epochs holds the epoch of each partition.
type epochs []int64

func (e epochs) of(user presence.UserID) int64 { return e[wire.Partition(user, len(e))] }

// epochs reads the epochs from the checkpoints. The epoch of a partition that was
// never claimed is the one it will begin in.
func (n newestStates) epochs(ctx context.Context) (epochs, error) {
	if !n.enabled {
		return nil, errNoStates
	}
	layout := n.layout()
	found, subjects := make(epochs, layout.Partitions), make([]string, layout.Partitions)
	for p := range layout.Partitions {
		subjects[p] = partitionID{layout.Generation, p}.checkpoint(n.subjects)
	}
	known := 0
	deliveries := directGet{nc: n.nc, stream: n.subjects.DeliveriesStream()}
	for batch, err := range deliveries.batches(ctx, lastFor(subjects...)) {
		if err != nil {
			return nil, err
		}
		for _, g := range batch {
			_, partition, err := n.subjects.ParseCheckpoint(g.Subject)
			if err != nil {
				return nil, err
			}
			checkpoint, err := wire.DecodeCheckpoint(g.Data)
			if err != nil {
				return nil, fmt.Errorf("decode checkpoint of partition %d: %w", partition, err)
			}
			found[partition] = checkpoint.Epoch
			known++
		}
	}
	if known == layout.Partitions {
		return found, nil
	}
	return found, n.fill(ctx, found)
}

// fill sets the epochs that are 0 to the creation time of the updates stream.
func (n newestStates) fill(ctx context.Context, epochs epochs) error {
	stream, err := n.js.Stream(ctx, n.subjects.UpdatesStream())
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", n.subjects.UpdatesStream(), err)
	}
	for i, epoch := range epochs {
		if epoch == 0 {
			epochs[i] = stream.CachedInfo().Created.UnixMilli()
		}
	}
	return nil
}
