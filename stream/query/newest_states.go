package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
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

// ofFirst returns the newest states of the first of users, of as many as have about
// maxBytes together but at least one, and those users. They are at most
// maxGetSubjects.
func (n newestStates) ofFirst(
	ctx context.Context, epochs partitionEpochs, users []presence.UserID, maxBytes int,
) ([]wire.PlacedState, []presence.UserID, error) {
	for {
		batch, end, err := n.stream().Batch(ctx, jsapi.BatchRequest{LastFor: n.subjectsOf(users), Batch: jsapi.MaxSubjects, MaxBytes: maxBytes})
		if err != nil {
			return nil, nil, fmt.Errorf("read stream %s: %w", n.subjects.StateStream(), err)
		}
		pending := int(end.Pending) //nolint:gosec // There are at most maxGetSubjects.
		if pending == 0 || len(users) == 1 {
			return n.decode(batch, epochs), users, nil
		}
		users = users[:max(1, len(users)*len(batch)/(len(batch)+pending))] // A batch is in order of the stream, not of users.
	}
}

// of yields the newest states of users, part by part, an error at most as the last.
func (n newestStates) of(ctx context.Context, epochs partitionEpochs, users []presence.UserID) iter.Seq2[[]wire.PlacedState, error] {
	return func(yield func([]wire.PlacedState, error) bool) {
		for some := range slices.Chunk(users, jsapi.MaxSubjects) {
			for batch, err := range n.stream().Batches(ctx, jsapi.LastFor(n.subjectsOf(some)...)) {
				if !yield(n.decode(batch, epochs), err) || err != nil {
					return
				}
			}
		}
	}
}

// ofEverybody yields the newest states of all users, part by part, an error at most
// as the last. Each user comes once, but for those whose state changes meanwhile.
func (n newestStates) ofEverybody(ctx context.Context, epochs partitionEpochs) iter.Seq2[[]wire.PlacedState, error] {
	return func(yield func([]wire.PlacedState, error) bool) {
		stream, err := n.js.Stream(ctx, n.subjects.StateStream())
		if err != nil {
			yield(nil, fmt.Errorf("look up stream %s: %w", n.subjects.StateStream(), err))
			return
		}
		last := stream.CachedInfo().State.LastSeq
		for batch, err := range n.stream().Batches(ctx, jsapi.MessagesFrom(1)) {
			if !yield(n.decode(batch, epochs), err) || err != nil || batch[len(batch)-1].Sequence >= last {
				return
			}
		}
	}
}

func (n newestStates) subjectsOf(users []presence.UserID) []string {
	subjects := make([]string, len(users))
	for i, user := range users {
		subjects[i] = n.subjects.State(user)
	}
	return subjects
}

func (n newestStates) stream() jsapi.Direct {
	return jsapi.Direct{NC: n.nc, Stream: n.subjects.StateStream()}
}

// decode leaves out what the stream path would make a dead letter of, and states
// that were stored before the epoch of their partition began: nobody can tell
// whether they are newer than what was routed since.
func (n newestStates) decode(batch []jsapi.BatchMessage, epochs partitionEpochs) []wire.PlacedState {
	states := make([]wire.PlacedState, 0, len(batch))
	for _, g := range batch {
		state, err := wire.DecodeUpdate(g.Data, g.Origin, n.maxBytes)
		if err != nil || g.Origin == 0 || n.subjects.State(state.UserID) != g.Subject {
			continue
		}
		if epoch := epochs.of(state.UserID); g.Time.UnixMilli() >= epoch {
			states = append(states, wire.PlacedState{Epoch: epoch, State: state})
		}
	}
	slices.SortFunc(states, func(a, b wire.PlacedState) int {
		return cmp.Compare(a.State.Published().Position, b.State.Published().Position)
	})
	return states
}

// partitionEpochs holds the epoch of each partition.
type partitionEpochs []int64

func (e partitionEpochs) of(user presence.UserID) int64 { return e[wire.Partition(user, len(e))] }

// readEpochs reads the epochs from the checkpoints. The epoch of a partition that was
// never claimed is the one it will begin in.
func (n newestStates) readEpochs(ctx context.Context) (partitionEpochs, error) {
	if !n.enabled {
		return nil, errNoStates
	}
	layout := n.layout()
	found, subjects := make(partitionEpochs, layout.Partitions), make([]string, layout.Partitions)
	for p := range layout.Partitions {
		subjects[p] = deployment.Partition{Generation: layout.Generation, Number: p}.Checkpoint(n.subjects)
	}
	known := 0
	deliveries := jsapi.Direct{NC: n.nc, Stream: n.subjects.DeliveriesStream()}
	for batch, err := range deliveries.Batches(ctx, jsapi.LastFor(subjects...)) {
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
func (n newestStates) fill(ctx context.Context, epochs partitionEpochs) error {
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
