package updates

import (
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/internal/checkpoint"
)

// Update is one update as it stands in the updates stream.
type Update struct {
	Subject  string
	Header   nats.Header
	Data     []byte
	Sequence uint64
	Time     time.Time // when it was stored
	Epoch    int64
	created  time.Time // when the stream that holds it was created
}

// Done returns the position of a partition once the update is done.
func (u Update) Done() checkpoint.Position {
	return checkpoint.Position{Epoch: u.Epoch, Sequence: u.Sequence, Time: u.Time, Created: u.created}
}
