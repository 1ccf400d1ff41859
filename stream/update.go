package stream

import (
	"time"

	"github.com/nats-io/nats.go"
)

// update is one update as it stands in the updates stream.
type update struct {
	subject  string
	header   nats.Header
	data     []byte
	sequence uint64
	time     time.Time // when it was stored
	epoch    int64
	created  time.Time // when the stream that holds it was created
}

// done returns the position of a partition once the update is done.
func (u update) done() position {
	return position{epoch: u.epoch, sequence: u.sequence, time: u.time, created: u.created}
}
