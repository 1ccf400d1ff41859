package stream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// mistake is one that a build with its tag makes on purpose, so that the fault
// tests can show that they find it. Other builds make none: the compiler drops
// what is for planted alone.
type mistake int

const (
	noMistake       mistake = iota
	blindCommit             // commits whatever the newest checkpoint is
	checkpointApart         // writes checkpoints behind the batch that they cover, not in it
	checkpointAgain         // reads the update that the checkpoint covers once more
	outcomeUnread           // takes a commit of unknown outcome for one that did not land
	purgeSkips              // skips what a purge left of the updates stream

	// Of fast ingest.
	gapAllowed     // has the server go on with a batch of which messages are missing
	batchLeftOpen  // claims a partition and does not end the batch of the one before
	outcomeAssumed // takes a batch of unknown outcome that has begun for one that landed
	tailCutShort   // does not see the last message that is stored of a batch
	restTooShort   // leaves one message out where the rest of a batch is sent
	unitOvertakes  // sends a unit before those of its partition that wait
)

// expectation returns the header that has a checkpoint refused unless the newest
// one is still at revision.
func expectation(revision uint64) string {
	if planted == blindCommit {
		return ""
	}
	return strconv.FormatUint(revision, 10)
}

// commitApart is commit with a mistake.
func (b *atomicBatch) commitApart(ctx context.Context, ends []fencedCheckpoint) <-chan outcome {
	answer := make(chan outcome, 1)
	go func() { answer <- b.apart(ctx, ends) }()
	return answer
}

func (b *atomicBatch) apart(ctx context.Context, ends []fencedCheckpoint) outcome {
	var last outcome
	if b.sent > 0 {
		setHeader(b.out.Header, batchCommitHeader, "eob") // The batch ends before this message.
		setHeader(b.out.Header, batchSequenceHeader, strconv.Itoa(b.sent+1))
		b.out.Subject, b.out.Data = ends[0].subject, nil
		if last = b.request(ctx); last.err != nil {
			return last
		}
	}
	clear(b.out.Header)
	setHeader(b.out.Header, jetstream.MsgRollup, jetstream.MsgRollupSubject)
	setHeader(b.out.Header, jetstream.MsgTTLHeader, "never")
	for _, c := range ends {
		setHeader(b.out.Header, jetstream.ExpectedLastSubjSeqHeader, expectation(c.revision))
		b.out.Subject, b.out.Data = c.subject, c.data
		if last = b.request(ctx); last.err != nil {
			return outcome{err: fmt.Errorf("write a checkpoint: %w", last.err)}
		}
	}
	return last
}
