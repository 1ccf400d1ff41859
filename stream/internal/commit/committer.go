package commit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/internal/deployment"
	"github.com/presence-router/presence-router/stream/internal/wait"
	"github.com/presence-router/presence-router/stream/wire"
)

// Config is what a Committer is made of.
type Config struct {
	JS                 jetstream.JetStream
	Subjects           wire.Subjects
	Checkpoints        checkpoint.Store
	Worker             string        // ID of this worker
	Instance           string        // unique to this process: its commit IDs begin with it
	CheckpointInterval time.Duration // bound on how long a position that delivers nothing stays uncommitted
	CommitTimeout      time.Duration // wait for the answer to a commit before its outcome is looked up
	Log                *slog.Logger
	Meter              metric.Meter
}

// Committer commits what is routed of the partitions of a worker, each in one of two
// ways: by fast ingest, or in atomic batches.
type Committer struct {
	batcher   *batcher
	ingester  *ingester
	telemetry *telemetry
	counted   *tally
	letters   *letterNotice
}

// New returns a Committer that does not run yet.
func New(c Config) (*Committer, error) {
	telemetry, err := newTelemetry(c.Meter)
	if err != nil {
		return nil, err
	}
	both := &Committer{telemetry: telemetry, counted: new(tally), letters: newLetterNotice(c.Log)}
	nc := c.JS.Conn()
	both.batcher = &batcher{
		way: both.way(c), groupBytes: maxGroupBytes,
		idle: make(map[*Partition]checkpoint.Position), served: make(map[*Partition]served),
	}
	both.ingester = &ingester{
		way: both.way(c), inbox: nc.NewInbox(), heard: make(chan *nats.Msg, maxAnswers),
		lanes: make(map[*Partition]*lane), flights: make(map[string]*flight),
		found: make(chan *flight, deployment.MaxPartitions), rested: make(chan *lane, deployment.MaxPartitions),
	}
	return both, nil
}

func (c *Committer) way(config Config) way {
	return way{
		Config: config, nc: config.JS.Conn(), staged: make(chan Unit, deployment.MaxPartitions*slotsPerPartition),
		stall: wait.NewStall(config.Log, "committing deliveries"), telemetry: c.telemetry, counted: c.counted, letters: c.letters,
	}
}

// Begin has the counters whose labels are known exist.
func (c *Committer) Begin(ctx context.Context) { c.telemetry.begin(ctx) }

// Fit has commits fit into a deliveries stream that is limited to maxBytes.
func (c *Committer) Fit(maxBytes int64) { c.batcher.groupBytes = groupBytes(maxBytes) }

// UnitBytes returns how many bytes the messages of a unit may have together, but for
// what one update has for one recipient.
func (c *Committer) UnitBytes() int { return min(maxUnitBytes, c.batcher.groupBytes) }

// Listen has the server's answers heard until the function it returns is called.
func (c *Committer) Listen() (leave func(), err error) { return c.ingester.listen() }

// Run commits what is staged until end is called and everything is committed, or until
// ctx ends.
func (c *Committer) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { c.batcher.run(ctx) })
	both.Go(func() { c.ingester.run(ctx) })
	both.Wait()
}

// End has run return once everything is committed. Nothing is staged after it.
func (c *Committer) End() {
	close(c.batcher.staged)
	close(c.ingester.staged)
}

// Waiting returns nil while commits work out, else why they do not.
func (c *Committer) Waiting() error {
	return errors.Join(c.batcher.stall.Waiting(), c.ingester.stall.Waiting())
}

// Forget says that nobody waits for commits of a partition any more.
func (c *Committer) Forget(partition int) { c.ingester.stall.Forget(partition) }

// Remind logs dead letters that a line is due about.
func (c *Committer) Remind() { c.letters.tell() }

// Close logs what is left to say.
func (c *Committer) Close() {
	c.batcher.stall.Close()
	c.ingester.stall.Close()
	c.letters.end()
}

// Totals returns what is done so far.
func (c *Committer) Totals() Totals { return c.counted.totals() }

// NotLocal returns how many updates went to nobody, because no recipient may have them,
// and when the last of them was done.
func (c *Committer) NotLocal() (updates uint64, last time.Time) { return c.counted.notLocal() }
