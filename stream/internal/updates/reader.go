package updates

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// The settings of the consumers that read updates.
const (
	readAhead       = 512     // updates asked for at once
	readAheadBytes  = 4 << 20 // bytes asked for at once, but for a message that is larger
	readHeartbeat   = 2 * time.Second
	readExpiry      = 20 * time.Second
	inactiveTimeout = 30 * time.Second // after which the server deletes the consumer of a reader that is gone
)

var (
	errReconnected = errors.New("the connection was made again")
	errGap         = errors.New("updates are missing between two that arrived")
	errOverlooked  = errors.New("updates are stored and do not arrive")
)

// Reader follows the updates of one partition, in order and without a gap, from
// a position on. It reads through a consumer of its own that needs no
// acknowledgement; whatever breaks the consumer's sequence, it makes another one
// at the next update.
type Reader struct {
	Config

	nc       *nats.Conn
	position checkpoint.Position // of the last update put into updates
	compared bool                // the position was compared with the stream just now, for a claim
	arriving chan Update         // bounded: the consumer waits while it is full

	newest atomic.Uint64 // sequence of the newest update that arrived
	full   atomic.Bool   // it waits for room in updates

	name atomic.Pointer[string] // of the consumer, nil before there is one
}

// Config is what a reader is made of.
type Config struct {
	JS         jetstream.JetStream
	Subjects   wire.Subjects
	Continuity *checkpoint.Continuity
	Partition  deployment.Partition
	From       checkpoint.Position // that a claim has compared with the stream
	Ahead      int                 // updates that wait to be taken
	Stall      *wait.Stall         // of all partitions
}

// New returns a reader that has not begun.
func New(c Config) *Reader {
	return &Reader{Config: c, nc: c.JS.Conn(), position: c.From, compared: true, arriving: make(chan Update, c.Ahead)}
}

// Updates returns where the updates come out.
func (r *Reader) Updates() <-chan Update { return r.arriving }

// Reached returns up to where it has read, once run has returned.
func (r *Reader) Reached() checkpoint.Position { return r.position }

// Consumer returns the name of the consumer that it reads through, "" for none.
func (r *Reader) Consumer() string {
	if name := r.name.Load(); name != nil {
		return *name
	}
	return ""
}

// Run hands updates on until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	defer r.Stall.Forget(r.Partition.Number)
	retry := wait.NewBackOff()
	for ctx.Err() == nil {
		began, from := time.Now(), r.position.Sequence
		err := r.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if r.position.Sequence > from || time.Since(began) > readExpiry {
			retry.Reset()
		}
		if !errors.Is(err, errReconnected) {
			r.Stall.FailedFor(r.Partition.Number, err)
		}
		wait.Pause(ctx, retry.NextBackOff())
	}
}

// session reads through one consumer until it breaks, the connection is made
// again or ctx ends.
func (r *Reader) session(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	reconnected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(reconnected)
	watching.Go(func() {
		select {
		case <-reconnected:
			end(errReconnected) // What was asked on the old connection is not answered any more.
		case <-ctx.Done():
		}
	})
	err := r.read(ctx)
	if wait.Ended(ctx) {
		return context.Cause(ctx)
	}
	return err
}

func (r *Reader) read(ctx context.Context) error {
	if err := r.compare(ctx); err != nil {
		return err
	}
	consumer, err := r.consumer(ctx)
	if err != nil {
		return err
	}
	defer r.delete(ctx, consumer)
	r.name.Store(&consumer.CachedInfo().Name)
	defer r.name.Store(nil)
	r.newest.Store(r.position.Next() - 1)
	if err := r.reach(ctx, consumer); err != nil {
		return err
	}
	// The stream may have been made again between the look and the consumer.
	if err := r.Continuity.Holds(ctx, r.position); err != nil {
		return err
	}
	return r.consume(ctx, consumer)
}

// compare finds out where to go on from the position. The first time, the claim has
// done so: while a partition moves, every request counts.
func (r *Reader) compare(ctx context.Context) error {
	if r.compared {
		r.compared = false
		return nil
	}
	resumed, err := r.Continuity.Resume(ctx, r.position, r.position, time.Time{})
	if err != nil {
		return err
	}
	r.position = resumed
	return nil
}

func (r *Reader) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	consumer, err := r.JS.CreateConsumer(ctx, r.Subjects.UpdatesStream(), jetstream.ConsumerConfig{
		Description:       fmt.Sprintf("presence router, partition %d", r.Partition.Number),
		FilterSubject:     r.Partition.Updates(r.Subjects),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.position.Next(),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactiveTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("make a consumer for partition %d: %w", r.Partition.Number, err)
	}
	return consumer, nil
}

// delete spares the server the wait for the inactivity threshold; where it does
// not work out, that threshold applies.
func (r *Reader) delete(ctx context.Context, consumer jetstream.Consumer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.JS.DeleteConsumer(ctx, r.Subjects.UpdatesStream(), consumer.CachedInfo().Name)
}

func (r *Reader) consume(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	delivered := uint64(0)
	consuming, err := consumer.Consume(
		func(m jetstream.Msg) {
			delivered++
			if err := r.receive(ctx, m, delivered); err != nil {
				end(err)
			}
		},
		// A pull that is smaller than a message would never get it.
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, max(readAheadBytes, 2*int(r.nc.MaxPayload()))),
		jetstream.PullHeartbeat(readHeartbeat),
		jetstream.PullExpiry(readExpiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { end(err) }),
	)
	if err != nil {
		return fmt.Errorf("read partition %d: %w", r.Partition.Number, err)
	}
	// Asked for before the end: afterwards it would not wait for a handler that runs.
	closed := consuming.Closed()
	r.Stall.EndedFor(r.Partition.Number)
	end(r.overlooked(ctx))
	consuming.Stop()
	<-closed // no handler runs any more: the position is ours again
	return fmt.Errorf("read partition %d: %w", r.Partition.Number, context.Cause(ctx))
}

// receive takes one message over. It runs in the subscription's goroutine.
func (r *Reader) receive(ctx context.Context, m jetstream.Msg, delivered uint64) error {
	if wait.Ended(ctx) {
		return nil
	}
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	if meta.Sequence.Consumer != delivered {
		return errGap
	}
	u := Update{
		Subject: m.Subject(), Header: m.Headers(), Data: m.Data(),
		Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
		Epoch: r.position.Epoch, created: r.position.Created,
	}
	r.newest.Store(u.Sequence)
	r.full.Store(true)
	defer r.full.Store(false)
	select {
	case r.arriving <- u:
		r.position = u.Done()
		return nil
	case <-ctx.Done():
		return nil
	}
}
