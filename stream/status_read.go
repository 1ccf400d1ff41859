package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

const (
	statusTimeout = 15 * time.Second // for everything
	statusReaders = 16               // partitions that are read at once
)

// ErrNotUpdates is wrapped by the error about a stream that has the name of the
// updates stream and is not one.
var ErrNotUpdates = errors.New("the stream does not share updates among partitions")

// ReadStatus reads how the deployment with the subject prefix is doing. It needs
// no worker, and two requests for each partition.
func ReadStatus(ctx context.Context, nc *nats.Conn, prefix string) (Status, error) {
	subjects, err := wire.NewSubjects(prefix)
	if err != nil {
		return Status{}, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return Status{}, fmt.Errorf("use JetStream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	r := statusReader{
		nc: nc, js: js, subjects: subjects,
		checkpoints: checkpoints{deliveries: leader{nc: nc, stream: subjects.DeliveriesStream()}, subjects: subjects},
	}
	return r.read(ctx)
}

type statusReader struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	subjects    wire.Subjects
	checkpoints checkpoints
	updates     *jetstream.StreamInfo
	division    division
	layout      wire.Layout // that workers serve
}

func (r *statusReader) read(ctx context.Context) (s Status, err error) {
	if r.updates, err = r.info(ctx, r.subjects.UpdatesStream()); err != nil {
		return Status{}, err
	}
	if r.division, err = r.divided(ctx); err != nil {
		return Status{}, err
	}
	r.layout = r.division.serving()
	s.Time = r.updates.TimeStamp
	if unsound := r.division.unsound(); unsound != nil {
		s.UnsoundLayout, s.UnknownLayout = unsound.Error(), r.division.doubtful
	}
	if s.Repartition, err = r.repartition(ctx); err != nil {
		return Status{}, err
	}
	heartbeats, err := r.workers(ctx, &s)
	if err != nil {
		return Status{}, err
	}
	if s.Partitions, err = r.partitions(ctx); err != nil {
		return Status{}, err
	}
	if s.DeadLetters, err = r.deadLetters(ctx); err != nil {
		return Status{}, err
	}
	s.assemble(heartbeats)
	return s, nil
}

func (r *statusReader) info(ctx context.Context, name string, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	stream, err := r.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	if len(opts) == 0 {
		return stream.CachedInfo(), nil
	}
	info, err := stream.Info(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return info, nil
}

// workers fills in the workers, and returns their heartbeats in the same order.
func (r *statusReader) workers(ctx context.Context, s *Status) ([]wire.Heartbeat, error) {
	var heartbeats []wire.Heartbeat
	ages := make(map[string]time.Duration)
	err := readHeartbeats(ctx, r.js, r.subjects, func(h wire.Heartbeat, age time.Duration) {
		heartbeats = append(heartbeats, h)
		ages[h.Worker] = age
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heartbeats, func(a, b wire.Heartbeat) int { return strings.Compare(a.Worker, b.Worker) })
	s.Workers = make([]WorkerStatus, 0, len(heartbeats))
	for i, h := range heartbeats {
		if h.Generation != r.layout.Generation { // What it has are others.
			heartbeats[i].Partitions = nil
		}
		s.Workers = append(s.Workers, WorkerStatus{
			ID: h.Worker, Version: h.Version, ConfigHash: h.ConfigHash, Started: h.Started,
			Leaving: h.Leaving, HeardAgo: inSeconds(ages[h.Worker]),
			Partitions: append([]int{}, h.Partitions...), UpdatesPerSecond: h.Updates, DeliveriesPerSecond: h.Deliveries,
			StreamsDiffer: h.StreamsDiffer,
		})
	}
	return heartbeats, nil
}

// partitions reads the partitions, some at once. The first error ends it.
func (r *statusReader) partitions(ctx context.Context) ([]PartitionStatus, error) {
	n := r.layout.Partitions
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	found := make([]PartitionStatus, n)
	numbers := make(chan int)
	var reading sync.WaitGroup
	for range min(statusReaders, n) {
		reading.Go(func() {
			for p := range numbers {
				var err error
				if found[p], err = r.partition(ctx, p); err != nil {
					fail(err)
				}
			}
		})
	}
	for p := range n {
		numbers <- p
	}
	close(numbers)
	reading.Wait()
	return found, context.Cause(ctx)
}

func (r *statusReader) divided(ctx context.Context) (division, error) {
	stored, err := layoutOf(r.subjects, r.updates.Config)
	if err != nil {
		return division{}, fmt.Errorf("look up stream %s: %w", r.subjects.UpdatesStream(), ErrNotUpdates)
	}
	return newLayouts(r.js, r.subjects).dividedAs(ctx, stored, r.updates)
}

// repartition returns nil where no change is under way.
func (r *statusReader) repartition(ctx context.Context) (*RepartitionStatus, error) {
	move := r.division.move()
	if move == nil {
		return nil, nil
	}
	left, err := r.division.held(ctx, r.nc, r.subjects)
	if err != nil {
		return nil, err
	}
	return &RepartitionStatus{
		From: r.layout.Partitions, To: move.To.Partitions, Began: r.division.record.written,
		Waiting: left.updates, OldestWaiting: r.age(left),
	}, nil
}

// age returns for how many seconds the oldest update of a backlog has been stored.
func (r *statusReader) age(left backlog) float64 {
	if left.updates == 0 {
		return 0
	}
	return inSeconds(max(0, r.updates.TimeStamp.Sub(left.oldest)))
}

func (r *statusReader) partition(ctx context.Context, number int) (PartitionStatus, error) {
	id := partitionID{r.layout.Generation, number}
	checkpoint, err := r.checkpoints.read(ctx, id)
	if err != nil {
		return PartitionStatus{}, err
	}
	at, created := checkpoint.position(), r.updates.Created
	left, err := readBacklog(ctx, r.nc, r.subjects.UpdatesStream(), at.behind(id.updates(r.subjects), created))
	if err != nil {
		return PartitionStatus{}, err
	}
	unsound := ""
	if checkpoint.foreign != nil {
		unsound = checkpoint.foreign.Error()
	}
	return PartitionStatus{
		Number: number, CommittedBy: checkpoint.Worker, Epoch: checkpoint.Epoch, Sequence: checkpoint.Sequence,
		Pending: left.updates, OldestPending: r.age(left), Resumes: at.resumes(created),
		Unsound: unsound, Replaced: checkpoint.replaced,
	}, nil
}

func (r *statusReader) deadLetters(ctx context.Context) (map[wire.Reason]uint64, error) {
	info, err := r.info(ctx, r.subjects.DeadStream(), jetstream.WithSubjectFilter(r.subjects.DeadAll()))
	if err != nil {
		return nil, err
	}
	letters := make(map[wire.Reason]uint64)
	for _, reason := range wire.Reasons() {
		if n := info.State.Subjects[r.subjects.Dead(reason)]; n > 0 {
			letters[reason] = n
		}
	}
	return letters, nil
}

// inSeconds keeps the milliseconds.
func inSeconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
