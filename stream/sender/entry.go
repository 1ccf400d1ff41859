package sender

import (
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// delivery is a message of the deliveries stream that is not acknowledged yet.
type delivery struct {
	sequence uint64    // in the stream
	reply    string    // where acknowledgements go
	stored   time.Time // when its worker committed it
	replay   bool
	pin      *pin // under which it was read
	open     int  // states of it that are neither sent nor given up
	void     bool // no message of the stream as it is now: nothing to acknowledge
}

// item is one state of a delivery.
type item struct {
	state   presence.UserState // without the update it came from
	version version
	replay  bool
	from    *delivery
}

// entry is the newest state of one user for one server.
type entry struct {
	item

	merged []*delivery // others whose states of the user this one stands for
	gone   bool        // given up; the queue may still hold it
}

// What an entry and a delivery take in memory, texts aside, about.
const (
	entryBytes    = 400
	deliveryBytes = 250
)

func (i item) bytes() int64 {
	return int64(entryBytes + len(i.state.UserID.String()) + len(i.state.StatusMsg.Text))
}

// merge takes over the newer of the two states, and the other's delivery.
func (e *entry) merge(i item) {
	if i.version.compare(e.version) < 0 {
		e.merged = append(e.merged, i.from)
		return
	}
	e.merged = append(e.merged, e.from)
	e.item = i
}

// standFor takes over the delivery of a state that e covers. Where e is left of a delivery
// that was let go of, and that came again, it belongs to that one as before.
func (e *entry) standFor(i item) {
	if e.from.void && i.version == e.version {
		e.from = i.from
		return
	}
	e.merged = append(e.merged, i.from)
}

// absorb takes over what other, about the same user, stands for.
func (e *entry) absorb(other *entry) {
	e.merge(other.item)
	e.merged = append(e.merged, other.merged...)
}

func (e *entry) deliveries() []*delivery { return append(e.merged, e.from) }
