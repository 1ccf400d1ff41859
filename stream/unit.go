package stream

import (
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/stream/wire"
)

// unit is a part of a partition's work that is committed whole: messages, and
// the position that the partition has once they are stored. It fits one atomic
// batch. A unit without messages only moves the position.
type unit struct {
	partition *partition
	messages  []message // dead letters first, then deliveries
	bytes     int       // of the messages' data
	stored    int       // messages that an earlier attempt to commit the unit stored
	upTo      position
	staged    bool // whether it holds one of the partition's slots
	final     bool // whether it is the last one of its partition, which only says so

	updates []time.Time           // when each update was stored that upTo completes
	dead    map[wire.Reason]int64 // how many of the messages are dead letters
	refused int64                 // of the updates, that go to nobody, because no recipient may have them
	spans   []trace.Span          // end when the unit is committed
}
