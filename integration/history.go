package integration

import (
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// History is what was published to a router, and what it left behind.
type History struct {
	Updates     []Update     // in the order of their storing, at least per user
	Deliveries  []Delivery   // in the order of the deliveries stream
	DeadLetters []DeadLetter // in the order of the deliveries stream
	Checkpoints []Checkpoint // in the order of the deliveries stream; some may be missing
}

// Update is one stored update, and what is to become of it.
type Update struct {
	Number     int // unique; in the JSON under "number" where the update is to be delivered
	Sequence   uint64
	User       presence.UserID
	JSON       []byte
	Recipients []presence.UserID // who must get it, each once
	Reason     wire.Reason       // of its only dead letter; "" where it must not become one

	Gone  bool // the updates stream lost it after it was stored: it may be missing
	Again bool // it may have been stored once more, after the updates stream had lost it: a later epoch may repeat it once
}

// Delivery is one message of the deliveries stream that delivers something.
type Delivery struct {
	wire.ReceivedDelivery

	Subject wire.DeliverySubject
	Source  wire.Source
}

// DeadLetter is one dead letter, and the reason that its subject names.
type DeadLetter struct {
	wire.DeadLetter

	SubjectReason wire.Reason
}

// Checkpoint is one checkpoint of a partition as it was seen.
type Checkpoint struct {
	wire.Checkpoint

	Generation int // of the layout
	Partition  int
}
