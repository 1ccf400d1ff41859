package jsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxSubjects is for how many subjects the server answers one batch of a direct get.
const MaxSubjects = 1024

// The bounds of one batch of a direct get.
const (
	maxGetMessages = 1000
	maxGetBytes    = 4 << 20
	getTimeout     = 10 * time.Second // of one batch; nobody answers for a stream that is missing
)

// errBatchGap says that a message of a batch did not arrive.
var errBatchGap = errors.New("a message of the batch is missing")

// Direct reads messages of a stream in batches, from whichever replica answers
// (NATS ADR-31): they may be a moment old.
type Direct struct {
	NC     *nats.Conn
	Stream string
}

// BatchRequest is the body of a batch get: the messages from Sequence on, or the
// last ones of subjects.
type BatchRequest struct {
	Sequence uint64   `json:"seq,omitempty"`
	Batch    int      `json:"batch"`
	MaxBytes int      `json:"max_bytes"`
	LastFor  []string `json:"multi_last,omitempty"`
	UpTo     uint64   `json:"up_to_seq,omitempty"` // with LastFor, so that later batches do not see later messages
}

// MessagesFrom requests every message from sequence on.
func MessagesFrom(sequence uint64) BatchRequest { return BatchRequest{Sequence: sequence} }

// LastFor requests the last message of each of subjects, which together match at
// most MaxSubjects.
func LastFor(subjects ...string) BatchRequest { return BatchRequest{LastFor: subjects} }

// BatchMessage is a message that a batch get returned.
type BatchMessage struct {
	Message

	Origin   uint64 // sequence in the stream it was sourced from, 0 where it was not
	previous uint64 // sequence of the message before it in the batch, 0 at the start
}

// BatchEnd is what the end of a batch says.
type BatchEnd struct {
	Pending  uint64 // messages that the request matches beyond the batch
	last     uint64 // sequence of the last message
	upTo     uint64
	noResult bool
}

// Batches yields what request matches, in order and in batches. It ends after an
// error.
func (d Direct) Batches(ctx context.Context, request BatchRequest) iter.Seq2[[]BatchMessage, error] {
	return func(yield func([]BatchMessage, error) bool) {
		request.Batch, request.MaxBytes = maxGetMessages, maxGetBytes
		for {
			batch, end, err := d.Batch(ctx, request)
			if err != nil {
				yield(nil, fmt.Errorf("read stream %s: %w", d.Stream, err))
				return
			}
			if len(batch) > 0 && !yield(batch, nil) || end.Pending == 0 {
				return
			}
			request.Sequence, request.UpTo = end.last+1, end.upTo
		}
	}
}

// Batch returns what request matches, as far as one batch goes, and how it ends.
func (d Direct) Batch(ctx context.Context, request BatchRequest) (batch []BatchMessage, end BatchEnd, err error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, BatchEnd{}, fmt.Errorf("encode batch get: %w", err)
	}
	inbox := d.NC.NewInbox()
	replies, err := d.NC.SubscribeSync(inbox)
	if err != nil {
		return nil, BatchEnd{}, err
	}
	defer func() { _ = replies.Unsubscribe() }() // It fails without a connection, and then it is gone as well.
	if err := d.NC.PublishRequest("$JS.API.DIRECT.GET."+d.Stream, inbox, body); err != nil {
		return nil, BatchEnd{}, err
	}
	return receive(ctx, replies)
}

func receive(ctx context.Context, replies *nats.Subscription) (batch []BatchMessage, end BatchEnd, err error) {
	last := uint64(0)
	for {
		m, err := replies.NextMsgWithContext(ctx)
		if err != nil {
			return nil, BatchEnd{}, fmt.Errorf("wait for messages: %w", noStream(err))
		}
		if status := m.Header.Get("Status"); status != "" {
			end, err := ending(status, m.Header)
			if err == nil && end.last != last && !end.noResult {
				err = errBatchGap
			}
			return batch, end, err
		}
		g, err := parseGotten(m)
		if err != nil {
			return nil, BatchEnd{}, err
		}
		if g.previous != last {
			return nil, BatchEnd{}, errBatchGap
		}
		last = g.Sequence
		batch = append(batch, g)
	}
}

// ending reads the message that ends a batch.
func ending(status string, header nats.Header) (BatchEnd, error) {
	switch status {
	case "204":
		n := numbersOf{header: header}
		end := BatchEnd{Pending: n.get("Nats-Num-Pending"), last: n.get("Nats-Last-Sequence")}
		if header.Get("Nats-UpTo-Sequence") != "" {
			end.upTo = n.get("Nats-UpTo-Sequence")
		}
		return end, n.err
	case "404":
		return BatchEnd{noResult: true}, nil
	case "503":
		return BatchEnd{}, noStream(nats.ErrNoResponders)
	default:
		return BatchEnd{}, fmt.Errorf("status %s %s", status, header.Get("Description"))
	}
}

func parseGotten(m *nats.Msg) (BatchMessage, error) {
	n := numbersOf{header: m.Header}
	g := BatchMessage{
		Message:  Message{Subject: m.Header.Get(jetstream.SubjectHeader), Sequence: n.get(jetstream.SequenceHeader), Data: m.Data},
		previous: n.get("Nats-Last-Sequence"),
	}
	if n.err != nil {
		return BatchMessage{}, n.err
	}
	var err error
	if g.Time, err = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer)); err != nil {
		return BatchMessage{}, fmt.Errorf("read the time of message %d: %w", g.Sequence, err)
	}
	g.Origin = originOf(m.Header.Get("Nats-Stream-Source"))
	return g, nil
}

// originOf returns the sequence in the value of Nats-Stream-Source: stream,
// sequence and more, separated by spaces.
func originOf(source string) uint64 {
	_, rest, _ := strings.Cut(source, " ")
	number, _, _ := strings.Cut(rest, " ")
	origin, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0
	}
	return origin
}

// numbersOf reads numbers of a header and keeps the first error.
type numbersOf struct {
	header nats.Header
	err    error
}

func (n *numbersOf) get(name string) uint64 {
	number, err := strconv.ParseUint(n.header.Get(name), 10, 64)
	if err != nil && n.err == nil {
		n.err = fmt.Errorf("read header %s: %w", name, err)
	}
	return number
}
