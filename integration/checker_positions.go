package integration

import (
	"cmp"

	"github.com/presence-router/presence-router/routing/presence"
)

// checkpoints checks that each partition goes forwards, whichever workers have it
// and however often it comes back to one.
func (c *checker) checkpoints(seen []Checkpoint) {
	type place struct{ generation, partition int }
	last := make(map[place]Checkpoint)
	for _, now := range seen {
		at := place{now.Generation, now.Partition}
		before, known := last[at]
		if known && compareCheckpoints(now, before) < 0 {
			c.report(Backwards, "checkpoint of partition %d went from epoch %d, sequence %d, after %q by %s to epoch %d, sequence %d, after %q by %s", now.Partition,
				before.Epoch, before.Sequence, before.After, before.Worker, now.Epoch, now.Sequence, now.After, now.Worker)
		}
		last[at] = now
	}
}

// sources checks that the deliveries of each partition were committed in the order
// of the updates. A batch of updates that was left half done may be taken up again in
// smaller ones.
func (c *checker) sources(deliveries []Delivery) {
	last := make(map[int]Delivery)
	for _, now := range deliveries {
		before, known := last[now.Source.Partition]
		if known && !follows(now, before) {
			c.report(Backwards, "deliveries of partition %d went from epoch %d, updates %s to epoch %d, updates %s", now.Source.Partition,
				before.Epoch, before.Source, now.Epoch, now.Source)
		}
		last[now.Source.Partition] = now
	}
}

func follows(now, before Delivery) bool {
	if now.Epoch != before.Epoch {
		return now.Epoch > before.Epoch
	}
	return now.Source.First >= before.Source.First
}

// compareCheckpoints compares how far two checkpoints of one partition are. An
// update that is done up to a recipient is less than one that is done.
func compareCheckpoints(a, b Checkpoint) int {
	return cmp.Or(
		cmp.Compare(a.Epoch, b.Epoch),
		cmp.Compare(a.Sequence, b.Sequence),
		compareAfter(a.After, b.After),
	)
}

func compareAfter(a, b presence.UserID) int {
	if a.IsZero() || b.IsZero() {
		return cmp.Compare(doneFirst(b), doneFirst(a))
	}
	return a.Compare(b)
}

func doneFirst(after presence.UserID) int {
	if after.IsZero() {
		return 0
	}
	return 1
}
