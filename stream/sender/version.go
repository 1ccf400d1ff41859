package sender

import (
	"cmp"
	"hash/maphash"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// version orders the states of one user that one server gets.
type version struct {
	epoch    int64
	sequence uint64 // in the updates stream, 0 where a router made the state up
	delivery uint64 // sequence of the delivery in its stream
}

// compare orders by the delivery alone where only that is known.
func (v version) compare(other version) int {
	return cmp.Or(v.compareUpdate(other), cmp.Compare(v.delivery, other.delivery))
}

// compareUpdate returns 0 for two deliveries of one update.
func (v version) compareUpdate(other version) int {
	if c := cmp.Compare(v.epoch, other.epoch); c != 0 {
		return c
	}
	if v.sequence == 0 || other.sequence == 0 {
		return cmp.Compare(v.delivery, other.delivery)
	}
	return cmp.Compare(v.sequence, other.sequence)
}

// known is what a server was sent about a user.
type known struct {
	version version
	content uint64 // hash
	unsure  bool   // whether it arrived: the server delivers it again
}

func (o *outbox) knownOf(i item) known {
	return known{version: i.version, content: maphash.Comparable(o.seed, i.state)}
}

// covers reports whether a server that has k, or may have it, needs nothing of i: that is
// older, or the same update delivered for another recipient or once more. One that was asked
// for again, or that a router altered for its recipient, is sent.
func (k known) covers(i item, content uint64) bool {
	switch c := i.version.compareUpdate(k.version); {
	case c != 0:
		return c < 0
	case k.unsure:
		return false
	case i.version.delivery <= k.version.delivery:
		return true
	default:
		return !i.replay && k.content == content
	}
}

// recent remembers what was sent last, for as long as deliveries of the same updates
// are likely to come: at least one period, at most two, and never more than twice
// limit.
type recent struct {
	limit             int
	current, previous map[recentKey]known
	rotated           time.Time // when current began
}

type recentKey struct {
	destination presence.ServerName
	user        presence.UserID
}

func newRecent(limit int) recent {
	return recent{limit: limit, current: make(map[recentKey]known), rotated: time.Now()}
}

func (r *recent) get(key recentKey) (known, bool) {
	if k, found := r.current[key]; found {
		return k, true
	}
	k, found := r.previous[key]
	return k, found
}

func (r *recent) put(key recentKey, k known) {
	if len(r.current) >= r.limit {
		r.rotate()
	}
	r.current[key] = k
}

// rotate begins a period.
func (r *recent) rotate() {
	r.previous, r.current, r.rotated = r.current, make(map[recentKey]known), time.Now()
}
