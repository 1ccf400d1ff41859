package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

// maxBatchMessages is how many messages the server takes in one atomic batch.
const maxBatchMessages = 1000

// The headers of an atomic batch (NATS ADR-50).
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// traceHeader carries the W3C trace context from updates to deliveries.
const traceHeader = "traceparent"

// message is one message of an atomic batch.
type message struct {
	subject string
	data    []byte
	source  string // Presence-Source header
	trace   string // W3C traceparent header, "" for none
}

// fencedCheckpoint is the checkpoint that ends a partition's part of an atomic
// batch: it is refused, and the batch with it, unless the newest checkpoint of
// the partition is still at revision.
type fencedCheckpoint struct {
	subject  string
	data     []byte
	revision uint64
}

// atomicBatch is an atomic batch on its way to the server, which keeps its messages
// apart until the commit. It is used by one goroutine.
type atomicBatch struct {
	nc     *nats.Conn
	stream string
	id     string
	sent   int
	out    nats.Msg // reused: publishing copies it into the connection's buffer
	err    error    // why the batch cannot be committed any more
}

func newAtomicBatch(nc *nats.Conn, stream, id string) *atomicBatch {
	return &atomicBatch{nc: nc, stream: stream, id: id, out: nats.Msg{Header: nats.Header{batchIDHeader: {id}}}}
}

// add sends messages ahead of the commit. Where that does not work, the commit
// says so.
func (b *atomicBatch) add(messages []message) {
	for _, m := range messages {
		setHeader(b.out.Header, wire.SourceHeader, m.source)
		setHeader(b.out.Header, traceHeader, m.trace)
		b.send(m.subject, m.data)
	}
}

// commit sends the checkpoints, at least one, with which the server stores the
// batch, and returns a channel that receives what became of it.
func (b *atomicBatch) commit(ctx context.Context, ends []fencedCheckpoint) <-chan outcome {
	setHeader(b.out.Header, wire.SourceHeader, "")
	setHeader(b.out.Header, traceHeader, "")
	if planted == checkpointApart {
		return b.commitApart(ctx, ends)
	}
	setHeader(b.out.Header, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	setHeader(b.out.Header, jetstream.MsgTTLHeader, "never")
	last := len(ends) - 1
	for _, c := range ends[:last] {
		setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(c.revision))
		b.send(c.subject, c.data)
	}
	setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(ends[last].revision))
	setHeader(b.out.Header, batchCommitHeader, "1")
	setHeader(b.out.Header, batchSequenceHeader, strconv.Itoa(b.sent+1))
	b.out.Subject, b.out.Data = ends[last].subject, ends[last].data
	answer := make(chan outcome, 1)
	if b.err != nil {
		answer <- outcome{err: b.err}
		return answer
	}
	go func() { answer <- b.request(ctx) }()
	return answer
}

// outcome is what became of an atomic batch. An err that is an
// *jetstream.APIError means that nothing was stored; any other leaves it open.
type outcome struct {
	last uint64 // sequence of the last message; the others stand right before it, in order
	err  error
}

func (b *atomicBatch) request(ctx context.Context) outcome {
	reply, err := b.nc.RequestMsgWithContext(ctx, &b.out)
	if err != nil {
		return outcome{err: fmt.Errorf("commit to stream %s: %w", b.stream, err)}
	}
	var ack struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &ack); {
	case err != nil:
		return outcome{err: fmt.Errorf("commit to stream %s: decode the answer %.80q: %w", b.stream, reply.Data, err)}
	case ack.Error != nil:
		return outcome{err: fmt.Errorf("commit to stream %s: %w", b.stream, ack.Error)}
	case ack.Sequence == 0:
		return outcome{err: fmt.Errorf("commit to stream %s: the answer %.80q holds no sequence", b.stream, reply.Data)}
	}
	return outcome{last: ack.Sequence}
}

func (b *atomicBatch) send(subject string, data []byte) {
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
