package batchpublish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/internal/jsapi"
	"github.com/presence-router/presence-router/stream/internal/planted"
	"github.com/presence-router/presence-router/stream/wire"
)

// The operations of a fast-ingest batch (NATS ADR-50). The reply subject of each of
// its messages ends in <batch>.<flow>.<gaps>.<sequence>.<operation>.$FI.
const (
	fastStart  = "0"
	fastAppend = "1"
	fastCommit = "2"
	fastPing   = "4"

	// fastFlow is after how many messages the server may say how far it is, which
	// nobody here waits for; a gap ends the batch.
	fastFlow = ".1000.fail."
	fastEnd  = ".$FI"
)

// ErrGap says that messages of a batch did not arrive. Those before them are
// stored.
var ErrGap = errors.New("messages of the batch were lost on the way")

// Fast sends one fast-ingest batch: the server stores each message as it
// arrives and none behind one that is missing or refused. It is used by one
// goroutine.
type Fast struct {
	nc    *nats.Conn
	reply []byte // up to the sequence
	base  int    // length of reply
	sent  int
	out   nats.Msg // reused: publishing copies it into the connection's buffer
}

// NewFast returns a batch whose answers come to a subject below inbox.
func NewFast(nc *nats.Conn, inbox, id string) *Fast {
	flow := fastFlow
	if planted.Mistake == planted.GapAllowed {
		flow = strings.Replace(flow, "fail", "ok", 1)
	}
	reply := append([]byte(inbox+"."+id), flow...)
	return &Fast{nc: nc, reply: reply, base: len(reply), out: nats.Msg{Header: nats.Header{}}}
}

// Send sends a unit: a checkpoint that names the batch, the messages, and the
// checkpoint that ends it. The first one has the batch refused unless the newest
// checkpoint is still at the expected revision. A unit without messages is the last
// one alone.
func (b *Fast) Send(begin Fenced, messages []Message, end []byte) error {
	b.checkpoint(expectation(begin.Revision))
	if len(messages) == 0 {
		return b.publish(begin.Subject, end, fastCommit)
	}
	if err := b.publish(begin.Subject, begin.Data, fastStart); err != nil {
		return err
	}
	clear(b.out.Header)
	for _, m := range messages {
		setHeader(b.out.Header, wire.SourceHeader, m.Source)
		setHeader(b.out.Header, wire.TraceHeader, m.Trace)
		if err := b.publish(m.Subject, m.Data, fastAppend); err != nil {
			return err
		}
	}
	clear(b.out.Header)
	b.checkpoint("")
	return b.publish(begin.Subject, end, fastCommit)
}

// Size returns how many messages were sent.
func (b *Fast) Size() int { return b.sent }

func (b *Fast) checkpoint(expected string) {
	setHeader(b.out.Header, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	setHeader(b.out.Header, jetstream.MsgTTLHeader, "never")
	setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expected)
}

func (b *Fast) publish(subject string, data []byte, operation string) error {
	b.sent++
	b.reply = strconv.AppendInt(b.reply[:b.base], int64(b.sent), 10)
	b.reply = append(append(append(b.reply, '.'), operation...), fastEnd...)
	b.out.Subject, b.out.Reply, b.out.Data = subject, string(b.reply), data
	if err := b.nc.PublishMsg(&b.out); err != nil {
		return fmt.Errorf("publish to %s: %w", subject, err)
	}
	return nil
}

// Answer is what the server says of a fast-ingest batch: how far it is, which
// says nothing here, or at its end, how much of it is stored.
type Answer struct {
	Batch    string `json:"batch"` // "" but at the end
	Count    int    `json:"count"` // messages that are stored
	Sequence uint64 `json:"seq"`   // of the last of them, in the stream
}

// DecodeAnswer returns what m says. The error is why the server takes no more.
func DecodeAnswer(m *nats.Msg) (Answer, error) {
	if bytes.HasPrefix(m.Data, []byte(`{"type":"ack"`)) {
		return Answer{}, nil
	}
	if m.Header.Get("Status") == "503" {
		return Answer{}, nats.ErrNoResponders
	}
	var answer struct {
		Answer

		Type  string              `json:"type"` // "gap" or "err" while the batch goes on, else ""
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		return Answer{}, fmt.Errorf("decode the answer %.80q: %w", m.Data, err)
	case answer.Error != nil:
		return Answer{}, answer.Error
	case answer.Type == "gap":
		return Answer{}, ErrGap
	}
	return answer.Answer, nil
}

// End has the server take no message of a batch any more, whoever sends it: it
// sends one itself that leaves a gap, to the subject of the batch's checkpoints. It returns the sequence behind which nothing of
// the batch is stored, 0 where that is not known.
func End(ctx context.Context, nc *nats.Conn, subject, batch string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, jsapi.Timeout)
	defer cancel()
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox + ".>")
	if err != nil {
		return 0, fmt.Errorf("end batch %s: %w", batch, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // It fails without a connection, and then it is gone as well.
	b := NewFast(nc, inbox, batch)
	b.sent = math.MaxInt - 1 // The message gets the next number, and that leaves a gap.
	if err := b.publish(subject, nil, fastPing); err != nil {
		return 0, fmt.Errorf("end batch %s: %w", batch, err)
	}
	for {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return 0, fmt.Errorf("end batch %s: %w", batch, err)
		}
		answer, err := DecodeAnswer(m)
		switch {
		case errors.Is(err, ErrGap): // How much is stored follows.
		case jsapi.Classify(err) == jsapi.UnknownBatch: // It is not open, and cannot be begun: it would expect another checkpoint.
			return 0, nil
		case jsapi.Classify(err) == jsapi.FastDisabled: // The server has ended all of them.
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("end batch %s: %w", batch, err)
		case answer.Batch == batch:
			return answer.Sequence, nil
		}
	}
}

// setHeader puts one header value; "" takes the header away.
func setHeader(h nats.Header, key, value string) {
	switch values := h[key]; {
	case value == "":
		delete(h, key)
	case values == nil:
		h[key] = []string{value}
	default:
		values[0] = value
	}
}

// BatchOf returns the ID of the batch that an answer to a subject below inbox is
// about.
func BatchOf(inbox, subject string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(subject, inbox+"."), ".")
	return id
}

// IsFirst reports whether an answer to subject is about the first message of a batch.
func IsFirst(subject string) bool {
	subject = strings.TrimSuffix(subject, fastEnd)
	at := strings.LastIndexByte(subject, '.')
	return at >= 0 && strings.HasSuffix(subject[:at], ".1")
}
