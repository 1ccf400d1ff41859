package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// Checkpoint says how far a partition is committed.
type Checkpoint struct {
	Epoch    int64           `json:"epoch"`           // ms, as in deliveries
	Sequence uint64          `json:"sequence"`        // last update that is committed, 0 for none; see After
	Time     time.Time       `json:"time"`            // when that update was stored
	Created  time.Time       `json:"created"`         // when the updates stream was created
	Worker   string          `json:"worker"`          // who wrote the checkpoint
	Commit   string          `json:"commit"`          // unique to the commit that wrote it
	After    presence.UserID `json:"after,omitzero"`  // last recipient that the update at Sequence is committed for, where that one is half committed
	Batch    string          `json:"batch,omitempty"` // fast-ingest batch that is storing messages about the updates behind the position, "" for none
	Tail     Tail            `json:"tail,omitzero"`   // such messages that may be stored
}

// Tail says where messages may be stored that are about updates behind the position
// of a partition.
type Tail struct {
	From     uint64    `json:"from"`     // sequence in the deliveries stream behind which they are, 0 for that of the checkpoint
	To       uint64    `json:"to"`       // sequence of the last of them, 0 where that is not known
	Sequence uint64    `json:"sequence"` // last update that they are about
	Time     time.Time `json:"time"`     // when that update was stored
}

// maxBatchID is how long the ID of a batch may be (NATS ADR-50).
const maxBatchID = 64

// AppendCheckpoint appends c as JSON to dst, times in UTC to the nanosecond.
func AppendCheckpoint(dst []byte, c Checkpoint) []byte {
	dst = strconv.AppendInt(append(dst, `{"epoch":`...), c.Epoch, 10)
	dst = strconv.AppendUint(append(dst, `,"sequence":`...), c.Sequence, 10)
	dst = c.Time.UTC().AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano)
	dst = c.Created.UTC().AppendFormat(append(dst, `","created":"`...), time.RFC3339Nano)
	dst = appendText(append(dst, `","worker":`...), c.Worker)
	dst = appendText(append(dst, `,"commit":`...), c.Commit)
	if !c.After.IsZero() {
		dst = appendText(append(dst, `,"after":`...), c.After.String())
	}
	if c.Batch != "" {
		dst = appendText(append(dst, `,"batch":`...), c.Batch)
	}
	if t := c.Tail; t != (Tail{}) {
		dst = strconv.AppendUint(append(dst, `,"tail":{"from":`...), t.From, 10)
		dst = strconv.AppendUint(append(dst, `,"to":`...), t.To, 10)
		dst = strconv.AppendUint(append(dst, `,"sequence":`...), t.Sequence, 10)
		dst = t.Time.UTC().AppendFormat(append(dst, `,"time":"`...), time.RFC3339Nano)
		dst = append(dst, `"}`...)
	}
	return append(dst, '}')
}

// DecodeCheckpoint returns the checkpoint that AppendCheckpoint wrote, or an error
// where it is not valid. Unknown fields are passed over.
func DecodeCheckpoint(data []byte) (Checkpoint, error) {
	var decoded struct {
		Checkpoint

		Sequence *uint64 `json:"sequence"` // tells a missing one from 0, which would start from the oldest update
	}
	decoded.Epoch = -1
	if err := json.Unmarshal(data, &decoded); err != nil {
		return Checkpoint{}, fmt.Errorf("decode checkpoint: %w", err)
	}
	if decoded.Sequence == nil {
		return Checkpoint{}, errors.New("decode checkpoint: sequence is missing, want at least 0")
	}
	decoded.Checkpoint.Sequence = *decoded.Sequence
	if err := decoded.Validate(); err != nil {
		return Checkpoint{}, fmt.Errorf("decode checkpoint: %w", err)
	}
	return decoded.Checkpoint, nil
}

// Validate returns nil, or the joined errors that each name a field.
func (c Checkpoint) Validate() error {
	var errs []error
	if c.Epoch < 0 {
		errs = append(errs, fmt.Errorf("epoch is missing or %d, want at least 0", c.Epoch))
	}
	if c.Created.IsZero() {
		errs = append(errs, errors.New("created is missing, want the creation time of the updates stream"))
	}
	if c.Worker == "" {
		errs = append(errs, errors.New("worker is missing, want the ID of a worker"))
	}
	if c.Commit == "" {
		errs = append(errs, errors.New("commit is missing, want the ID of a commit"))
	}
	if len(c.Batch) > maxBatchID || strings.ContainsAny(c.Batch, ".*> \t\r\n") {
		errs = append(errs, fmt.Errorf("batch is %s, want at most %d bytes without . * > and white space", quoteShort(c.Batch), maxBatchID))
	}
	return errors.Join(errs...)
}
