package batchpublish

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/wire"
)

// MaxMessages is how many messages the server takes in one atomic batch.
const MaxMessages = 1000

// The headers of an atomic batch (NATS ADR-50).
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// Message is one message of an atomic batch.
type Message struct {
	Subject string
	Data    []byte
	Source  string // Presence-Source header
	Trace   string // W3C traceparent header, "" for none
}

// Fenced is the checkpoint that ends a partition's part of an atomic
// batch: it is refused, and the batch with it, unless the newest checkpoint of
// the partition is still at revision.
type Fenced struct {
	Subject  string
	Data     []byte
	Revision uint64
}

// Atomic is an atomic batch on its way to the server, which keeps its messages
// apart until the commit. It is used by one goroutine.
type Atomic struct {
	nc     *nats.Conn
	stream string
	id     string
	sent   int
	out    nats.Msg // reused: publishing copies it into the connection's buffer
	err    error    // why the batch cannot be committed any more
}

// NewAtomic returns a batch with an ID that no other has.
func NewAtomic(nc *nats.Conn, stream, id string) *Atomic {
	return &Atomic{nc: nc, stream: stream, id: id, out: nats.Msg{Header: nats.Header{batchIDHeader: {id}}}}
}

// Add sends messages ahead of the commit. Where that does not work, the commit
// says so.
func (b *Atomic) Add(messages []Message) {
	for _, m := range messages {
		setHeader(b.out.Header, wire.SourceHeader, m.Source)
		setHeader(b.out.Header, wire.TraceHeader, m.Trace)
		b.send(m.Subject, m.Data)
	}
}

// Commit sends the checkpoints, at least one, with which the server stores the
// batch, and returns a channel that receives what became of it.
func (b *Atomic) Commit(ctx context.Context, ends []Fenced) <-chan Outcome {
	setHeader(b.out.Header, wire.SourceHeader, "")
	setHeader(b.out.Header, wire.TraceHeader, "")
	if planted.Mistake == planted.CheckpointApart {
		return b.commitApart(ctx, ends)
	}
	setHeader(b.out.Header, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	setHeader(b.out.Header, jetstream.MsgTTLHeader, "never")
	last := len(ends) - 1
	for _, c := range ends[:last] {
		setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(c.Revision))
		b.send(c.Subject, c.Data)
	}
	setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(ends[last].Revision))
	setHeader(b.out.Header, batchCommitHeader, "1")
	setHeader(b.out.Header, batchSequenceHeader, strconv.Itoa(b.sent+1))
	b.out.Subject, b.out.Data = ends[last].Subject, ends[last].Data
	answer := make(chan Outcome, 1)
	if b.err != nil {
		answer <- Outcome{Err: b.err}
		return answer
	}
	go func() { answer <- b.request(ctx) }()
	return answer
}

// Outcome is what became of an atomic batch. An err that is an
// *jetstream.APIError means that nothing was stored; any other leaves it open.
type Outcome struct {
	Last uint64 // sequence of the last message; the others stand right before it, in order
	Err  error
}

func (b *Atomic) request(ctx context.Context) Outcome {
	reply, err := b.nc.RequestMsgWithContext(ctx, &b.out)
	if err != nil {
		return Outcome{Err: fmt.Errorf("commit to stream %s: %w", b.stream, err)}
	}
	var ack struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &ack); {
	case err != nil:
		return Outcome{Err: fmt.Errorf("commit to stream %s: decode the answer %.80q: %w", b.stream, reply.Data, err)}
	case ack.Error != nil:
		return Outcome{Err: fmt.Errorf("commit to stream %s: %w", b.stream, ack.Error)}
	case ack.Sequence == 0:
		return Outcome{Err: fmt.Errorf("commit to stream %s: the answer %.80q holds no sequence", b.stream, reply.Data)}
	}
	return Outcome{Last: ack.Sequence}
}

func (b *Atomic) send(subject string, data []byte) {
	if b.err != nil {
		return
	}
	b.sent++
	setHeader(b.out.Header, batchSequenceHeader, strconv.Itoa(b.sent))
	b.out.Subject, b.out.Data = subject, data
	if err := b.nc.PublishMsg(&b.out); err != nil {
		b.err = fmt.Errorf("publish to %s: %w", subject, err)
	}
}

// expectation returns the header that has a checkpoint refused unless the newest
// one is still at revision.
func expectation(revision uint64) string {
	if planted.Mistake == planted.BlindCommit {
		return ""
	}
	return strconv.FormatUint(revision, 10)
}

// commitApart is commit with a mistake.
func (b *Atomic) commitApart(ctx context.Context, ends []Fenced) <-chan Outcome {
	answer := make(chan Outcome, 1)
	go func() { answer <- b.apart(ctx, ends) }()
	return answer
}

func (b *Atomic) apart(ctx context.Context, ends []Fenced) Outcome {
	var last Outcome
	if b.sent > 0 {
		setHeader(b.out.Header, batchCommitHeader, "eob") // The batch ends before this message.
		setHeader(b.out.Header, batchSequenceHeader, strconv.Itoa(b.sent+1))
		b.out.Subject, b.out.Data = ends[0].Subject, nil
		if last = b.request(ctx); last.Err != nil {
			return last
		}
	}
	clear(b.out.Header)
	setHeader(b.out.Header, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	setHeader(b.out.Header, jetstream.MsgTTLHeader, "never")
	for _, c := range ends {
		setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(c.Revision))
		b.out.Subject, b.out.Data = c.Subject, c.Data
		if last = b.request(ctx); last.Err != nil {
			return Outcome{Err: fmt.Errorf("write a checkpoint: %w", last.Err)}
		}
	}
	return last
}
