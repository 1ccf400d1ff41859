package commit

import (
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/stream/internal/batchpublish"
	"github.com/presence-router/presence-router/stream/internal/checkpoint"
	"github.com/presence-router/presence-router/stream/wire"
)

// Unit is a part of a partition's work that is committed whole: messages, and
// the position that the partition has once they are stored. It fits one atomic
// batch. A unit without messages only moves the position.
type Unit struct {
	partition *Partition
	Messages  []batchpublish.Message // dead letters first, then deliveries
	Bytes     int                    // of the messages' data
	stored    int                    // messages that an earlier attempt to commit the unit stored
	UpTo      checkpoint.Position
	staged    bool // whether it holds one of the partition's slots
	final     bool // whether it is the last one of its partition, which only says so

	Updates []time.Time           // when each update was stored that upTo completes
	Dead    map[wire.Reason]int64 // how many of the messages are dead letters
	Refused int64                 // of the updates, that go to nobody, because no recipient may have them
	Spans   []trace.Span          // end when the unit is committed
}

// letters returns how many of the messages are dead letters.
func (u Unit) letters() int64 {
	dead := int64(0)
	for _, letters := range u.Dead {
		dead += letters
	}
	return dead
}

// deliveries returns how many of the messages are deliveries.
func (u Unit) deliveries() int64 { return max(0, int64(len(u.Messages))-u.letters()) }

// maxUnitBytes bounds the data of a unit, but for what one update has for one
// recipient, and so the memory that staged units take.
const maxUnitBytes = 4 << 20
