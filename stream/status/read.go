package status

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

	"github.com/presence-router/presence-router/stream/diagnosis"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	timeout = 15 * time.Second // for everything
	readers = 16               // partitions that are read at once
)

// ErrNotUpdates is wrapped by the error about a stream that has the name of the
// updates stream and is not one.
var ErrNotUpdates = errors.New("the stream does not share updates among partitions")

// Read reads how the deployment with the subject prefix is doing. It needs no
// worker, and two requests for each partition. What cannot be read, such as a stream
// that is missing, is among the problems of the status. The error is about a deployment
// of which nothing can be read.
func Read(ctx context.Context, nc *nats.Conn, prefix string, opts ...diagnosis.Option) (Status, error) {
	d, err := diagnosis.New(nc, prefix, opts...)
	if err != nil {
		return Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := d.Look(ctx)
	if err := found.Err(); err != nil {
		return Status{}, err
	}
	r, err := newReader(nc, prefix)
	if err != nil {
		return Status{}, err
	}
	r.streams = found.Streams
	s, err := r.read(ctx)
	s.Problems = append([]diagnosis.Problem{}, found.Problems...)
	return s, err
}

type reader struct {
	nc          *nats.Conn
	js          jetstream.JetStream
	subjects    wire.Subjects
	streams     map[string]*jetstream.StreamInfo // those that can be read
	deliveries  jsapi.Leader
	checkpoints checkpoint.Store
	layouts     deployment.Layouts
	updates     *jetstream.StreamInfo // nil if it cannot be read
	division    deployment.Division
	layout      wire.Layout // that workers serve; no partitions if it is not known
}

func newReader(nc *nats.Conn, prefix string) (*reader, error) {
	subjects, err := wire.NewSubjects(prefix)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	points := checkpoint.NewStore(js, subjects)
	return &reader{
		nc: nc, js: js, subjects: subjects, deliveries: jsapi.Leader{NC: nc, Stream: subjects.DeliveriesStream()},
		checkpoints: points, layouts: deployment.NewLayouts(js, subjects, points.Has),
	}, nil
}

func (r *reader) read(ctx context.Context) (s Status, err error) {
	for _, info := range r.streams {
		s.Time = info.TimeStamp
	}
	if r.updates = r.streams[r.subjects.UpdatesStream()]; r.updates != nil {
		s.Time = r.updates.TimeStamp
	}
	if r.division, err = r.divided(ctx); err != nil {
		return Status{}, err
	}
	r.layout = r.division.Serving()
	if unsound := r.division.Unsound(); unsound != nil {
		s.UnsoundLayout, s.UnknownLayout = unsound.Error(), r.division.Doubtful
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
	if err = r.deadLetters(ctx, &s); err != nil {
		return Status{}, err
	}
	s.assemble(heartbeats)
	return s, nil
}

// divided returns how updates are divided, as far as the streams that can be read tell.
func (r *reader) divided(ctx context.Context) (deployment.Division, error) {
	if r.updates == nil {
		return deployment.Division{}, nil
	}
	stored, err := deployment.LayoutOf(r.subjects, r.updates.Config)
	if err != nil {
		return deployment.Division{}, fmt.Errorf("look up stream %s: %w", r.subjects.UpdatesStream(), ErrNotUpdates)
	}
	if r.streams[r.subjects.WorkersStream()] == nil || r.streams[r.subjects.DeliveriesStream()] == nil {
		return deployment.Division{Stored: stored, Updates: r.updates}, nil
	}
	return r.layouts.DividedAs(ctx, stored, r.updates)
}

// repartition returns nil where no change is under way.
func (r *reader) repartition(ctx context.Context) (*Repartition, error) {
	move := r.division.Move()
	if move == nil {
		return nil, nil
	}
	left, err := r.layouts.Held(ctx, r.division)
	if err != nil {
		return nil, err
	}
	return &Repartition{
		From: r.layout.Partitions, To: move.To.Partitions, Began: r.division.Record.Written,
		Waiting: left.Messages, OldestWaiting: r.age(left),
	}, nil
}

// age returns for how many seconds the oldest update of a backlog has been stored.
func (r *reader) age(left jsapi.Backlog) float64 {
	if left.Messages == 0 {
		return 0
	}
	return inSeconds(max(0, r.updates.TimeStamp.Sub(left.Oldest)))
}

// workers fills in the workers, and returns their heartbeats in the same order.
func (r *reader) workers(ctx context.Context, s *Status) ([]wire.Heartbeat, error) {
	s.Workers = []Worker{}
	if s.UnknownWorkers = r.streams[r.subjects.WorkersStream()] == nil; s.UnknownWorkers {
		return nil, nil
	}
	var heartbeats []wire.Heartbeat
	ages := make(map[string]time.Duration)
	err := deployment.ReadHeartbeats(ctx, r.js, r.subjects, func(h wire.Heartbeat, age time.Duration) {
		heartbeats = append(heartbeats, h)
		ages[h.Worker] = age
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heartbeats, func(a, b wire.Heartbeat) int { return strings.Compare(a.Worker, b.Worker) })
	if r.updates == nil {
		r.layout = layoutOfWorkers(heartbeats)
	}
	for i, h := range heartbeats {
		if h.Generation != r.layout.Generation { // What it has are others.
			heartbeats[i].Partitions = nil
		}
		s.Workers = append(s.Workers, Worker{
			ID: h.Worker, Version: h.Version, ConfigHash: h.ConfigHash, Started: h.Started,
			Leaving: h.Leaving, HeardAgo: inSeconds(ages[h.Worker]),
			Partitions: append([]int{}, h.Partitions...), UpdatesPerSecond: h.Updates, DeliveriesPerSecond: h.Deliveries,
			StreamsDiffer: h.StreamsDiffer, LostUpdates: h.LostUpdates, LastLost: h.LastLost,
			NotLocal: h.NotLocal, LastNotLocal: h.LastNotLocal,
		})
	}
	return heartbeats, nil
}

// layoutOfWorkers returns the newest layout that workers serve, as far as they have its
// partitions.
func layoutOfWorkers(heartbeats []wire.Heartbeat) (served wire.Layout) {
	for _, h := range heartbeats {
		if h.Generation > served.Generation {
			served = wire.Layout{Generation: h.Generation}
		}
		if h.Generation == served.Generation && len(h.Partitions) > 0 {
			served.Partitions = max(served.Partitions, slices.Max(h.Partitions)+1)
		}
	}
	return served
}

// partitions reads the partitions, some at once. The first error ends it.
func (r *reader) partitions(ctx context.Context) ([]Partition, error) {
	n := r.layout.Partitions
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	found := make([]Partition, n)
	numbers := make(chan int)
	var reading sync.WaitGroup
	for range min(readers, n) {
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

func (r *reader) partition(ctx context.Context, number int) (Partition, error) {
	id := deployment.Partition{Generation: r.layout.Generation, Number: number}
	if r.streams[r.subjects.DeliveriesStream()] == nil {
		return Partition{Number: number, Unknown: true}, nil
	}
	checkpoint, err := r.checkpoints.Read(ctx, id)
	if err != nil {
		return Partition{}, err
	}
	at := checkpoint.Position()
	status := Partition{
		Number: number, CommittedBy: checkpoint.Worker, Epoch: checkpoint.Epoch, Sequence: checkpoint.Sequence,
		Replaced: checkpoint.Replaced, Unknown: r.updates == nil,
	}
	if checkpoint.Foreign != nil {
		status.Unsound = checkpoint.Foreign.Error()
	}
	if r.updates == nil {
		return status, nil
	}
	left, err := jsapi.ReadBacklog(ctx, r.nc, r.subjects.UpdatesStream(), at.Undone(id.Updates(r.subjects), r.updates.Created))
	if err != nil {
		return Partition{}, err
	}
	status.Pending, status.OldestPending, status.Resumes = left.Messages, r.age(left), at.Resumes(r.updates.Created)
	return status, nil
}

// deadLetters fills in the dead letters, nil if they cannot be read.
func (r *reader) deadLetters(ctx context.Context, s *Status) error {
	name := r.subjects.DeadStream()
	if r.streams[name] == nil {
		return nil
	}
	stream, err := r.js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(r.subjects.DeadAll()))
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	s.DeadLetters = make(map[wire.Reason]uint64)
	for _, reason := range wire.Reasons() {
		if n := info.State.Subjects[r.subjects.Dead(reason)]; n > 0 {
			s.DeadLetters[reason] = n
		}
	}
	if len(s.DeadLetters) > 0 {
		s.NewestDead, err = r.newestLetter(ctx, info.State.LastTime)
	}
	return err
}

// newestLetter returns the newest dead letter, which was stored at that time: the
// deliveries stream has it for a while.
func (r *reader) newestLetter(ctx context.Context, stored time.Time) (*NewestDeadLetter, error) {
	newest := &NewestDeadLetter{Time: stored}
	if r.streams[r.subjects.DeliveriesStream()] == nil {
		return newest, nil
	}
	letter, err := r.deliveries.Get(ctx, jsapi.MessageRequest{LastSubject: r.subjects.DeadAll()})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return newest, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the newest dead letter: %w", err)
	}
	for _, reason := range wire.Reasons() {
		if letter.Subject == r.subjects.Dead(reason) {
			newest.Reason, newest.Time = reason, letter.Time
		}
	}
	return newest, nil
}

// inSeconds keeps the milliseconds.
func inSeconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
