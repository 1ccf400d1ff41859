// Package planted names the mistakes that a build with a tag makes on purpose, so
// that the fault tests can show that they find them. Other builds make none: Mistake
// is a constant, and the compiler drops what depends on another one.
package planted

// Kind is a kind of mistake.
type Kind int

// The mistakes, each in the build with the tag that docs/decisions/0016 and 0032 name.
const (
	Nothing         Kind = iota
	BlindCommit          // commits whatever the newest checkpoint is
	CheckpointApart      // writes checkpoints behind the batch that they cover, not in it
	CheckpointAgain      // reads the update that the checkpoint covers once more
	OutcomeUnread        // takes a commit of unknown outcome for one that did not land
	PurgeSkips           // skips what a purge left of the updates stream

	// Of fast ingest.
	GapAllowed     // has the server go on with a batch of which messages are missing
	BatchLeftOpen  // claims a partition and does not end the batch of the one before
	OutcomeAssumed // takes a batch of unknown outcome that has begun for one that landed
	TailCutShort   // does not see the last message that is stored of a batch
	RestTooShort   // leaves one message out where the rest of a batch is sent
	UnitOvertakes  // sends a unit before those of its partition that wait
)
