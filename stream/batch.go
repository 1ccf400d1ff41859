package stream

import (
	"context"
	"encoding/json"
	"errors"
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
	source  string // Presence-Source header, of deliveries
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

// batchPublisher publishes atomic batches (NATS ADR-50) into the deliveries
// stream. It is used by one goroutine at a time.
type batchPublisher struct {
	nc     *nats.Conn
	stream string
	out    nats.Msg // reused: publishing copies it into the connection's buffer
}

func newBatchPublisher(nc *nats.Conn, stream string) *batchPublisher {
	return &batchPublisher{nc: nc, stream: stream, out: nats.Msg{Header: make(nats.Header)}}
}

// publish sends one batch and waits for the server's answer. It returns the
// sequence of the last message; the others stand right before it, in order. An
// *jetstream.APIError means that nothing was stored; any other error leaves the
// outcome open.
func (b *batchPublisher) publish(ctx context.Context, id string, messages []message, ends []fencedCheckpoint) (uint64, error) {
	clear(b.out.Header)
	b.set(batchIDHeader, id)
	for i, m := range messages {
		b.set(batchSequenceHeader, strconv.Itoa(i+1))
		b.set(wire.SourceHeader, m.source)
		b.set(traceHeader, m.trace)
		if err := b.send(m.subject, m.data); err != nil {
			return 0, err
		}
	}
	b.set(wire.SourceHeader, "")
	b.set(traceHeader, "")
	b.set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	b.set(jetstream.MsgTTLHeader, "never")
	for i, c := range ends {
		b.set(batchSequenceHeader, strconv.Itoa(len(messages)+i+1))
		b.set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(c.revision, 10))
		if i == len(ends)-1 {
			b.set(batchCommitHeader, "1")
			return b.commit(ctx, c)
		}
		if err := b.send(c.subject, c.data); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("publish batch: it holds no checkpoint")
}

// set puts one header value into the reused message; "" takes the header away.
func (b *batchPublisher) set(key, value string) {
	switch values := b.out.Header[key]; {
	case value == "":
		delete(b.out.Header, key)
	case values == nil:
		b.out.Header[key] = []string{value}
	default:
		values[0] = value
	}
}

func (b *batchPublisher) send(subject string, data []byte) error {
	b.out.Subject, b.out.Data = subject, data
	if err := b.nc.PublishMsg(&b.out); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

func (b *batchPublisher) commit(ctx context.Context, last fencedCheckpoint) (uint64, error) {
	b.out.Subject, b.out.Data = last.subject, last.data
	reply, err := b.nc.RequestMsgWithContext(ctx, &b.out)
	if err != nil {
		return 0, fmt.Errorf("commit to stream %s: %w", b.stream, err)
	}
	return decodeAck(b.stream, reply.Data)
}

// decodeAck returns the sequence that an acknowledgement confirms.
func decodeAck(stream string, data []byte) (uint64, error) {
	var ack struct {
		Sequence uint64              `json:"seq"`
		Error    *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("commit to stream %s: decode the answer %.80q: %w", stream, data, err)
	}
	if ack.Error != nil {
		return 0, fmt.Errorf("commit to stream %s: %w", stream, ack.Error)
	}
	if ack.Sequence == 0 {
		return 0, fmt.Errorf("commit to stream %s: the answer %.80q holds no sequence", stream, data)
	}
	return ack.Sequence, nil
}
