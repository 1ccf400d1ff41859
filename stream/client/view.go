package client

import (
	"bytes"
	"cmp"
	"container/list"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// DefaultViewBytes is how much a View holds that a sync worker keeps for each of
// many users.
const DefaultViewBytes = 1 << 20

// View holds the newest state of each user whose presence was delivered to one
// recipient, and the position behind the last delivery it took. It is what a sync
// worker answers its client from. It is safe for use by several goroutines.
type View struct {
	recipient presence.UserID
	maxBytes  int

	mu       sync.Mutex
	position Position
	bytes    int                               // of all entries
	places   map[presence.UserID]*list.Element // of *Latest
	offline  list.List                         // those who are offline, the longest unchanged first
	others   list.List                         // everybody else, in the same order
}

// Latest is the newest state of one user.
type Latest struct {
	Epoch    int64              // ms, as in a delivery
	Sequence uint64             // of the newest update that was delivered of the user, 0 where none was
	State    presence.UserState // with the JSON it was delivered as (Published)
}

// entryBytes is about what an entry takes beside its JSON.
const entryBytes = 400

// NewView returns an empty View of recipient that holds about maxBytes at most: of
// more, it forgets users that are offline, which is what users it does not know
// are, then others, in both cases those first that did not change for longest.
func NewView(recipient presence.UserID, maxBytes int) *View {
	return &View{recipient: recipient, maxBytes: maxBytes, places: make(map[presence.UserID]*list.Element)}
}

// Recipient returns the user whose view it is.
func (v *View) Recipient() presence.UserID { return v.recipient }

// Position returns the position behind the last delivery that v took.
func (v *View) Position() Position {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.position
}

// Len returns how many users v knows.
func (v *View) Len() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.places)
}

// State returns the newest state of a user, and whether there is one.
func (v *View) State(user presence.UserID) (Latest, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if place := v.places[user]; place != nil {
		return *entry(place), true
	}
	return Latest{}, false
}

// All yields the newest state of every user, by user ID, as they are when the
// iteration begins.
func (v *View) All() iter.Seq[Latest] {
	return func(yield func(Latest) bool) {
		for _, latest := range v.snapshot() {
			if !yield(latest) {
				return
			}
		}
	}
}

func (v *View) snapshot() []Latest {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]Latest, 0, len(v.places))
	for place := range maps.Values(v.places) {
		all = append(all, *entry(place))
	}
	slices.SortFunc(all, func(a, b Latest) int { return a.State.UserID.Compare(b.State.UserID) })
	return all
}

// Take takes a delivery over and returns what is news in it: the last state of each
// user whose epoch and sequence are above those that v has, in order. A state that
// a router made up has no sequence, and is news unless its epoch is over. A delivery
// to somebody else changes nothing.
func (v *View) Take(d Delivery) []Latest {
	if d.Recipient != v.recipient {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.position = d.Position
	var news []Latest
	for _, latest := range newest(d) {
		if v.put(&latest) {
			news = append(news, latest)
		}
	}
	return news
}

// newest returns the last state of each user in d with the highest sequence of the
// user in it, in the order of the last ones.
func newest(d Delivery) []Latest {
	highest := make(map[presence.UserID]uint64, len(d.States))
	for i, state := range d.States {
		highest[state.UserID] = max(highest[state.UserID], d.Sequences[i])
	}
	var last []Latest
	for i, state := range slices.Backward(d.States) {
		sequence, isLast := highest[state.UserID]
		if !isLast {
			continue
		}
		delete(highest, state.UserID)
		last = append(last, Latest{Epoch: d.Epoch, Sequence: sequence, State: detached(d.RawStates[i], d.Sequences[i])})
	}
	slices.Reverse(last)
	return last
}

// detached decodes a copy of the JSON of a state, which keeps the rest of its
// delivery out of memory.
func detached(json []byte, sequence uint64) presence.UserState {
	state, err := wire.DecodeUpdate(bytes.Clone(json), sequence, len(json))
	if err != nil {
		return presence.UserState{} // never: it was decoded before
	}
	return state
}

// put keeps latest where it is news, with the sequence that is kept of the user
// where it has none.
func (v *View) put(latest *Latest) bool {
	user := latest.State.UserID
	if place := v.places[user]; place != nil {
		kept := entry(place)
		if isOld(*latest, *kept) {
			return false
		}
		if latest.Sequence == 0 && latest.Epoch == kept.Epoch {
			latest.Sequence = kept.Sequence
		}
		v.forget(place)
	}
	v.places[user] = v.listOf(*latest).PushBack(latest)
	v.bytes += size(*latest)
	v.shrink()
	return true
}

func isOld(latest, kept Latest) bool {
	if byEpoch := cmp.Compare(latest.Epoch, kept.Epoch); byEpoch != 0 {
		return byEpoch < 0
	}
	return latest.Sequence != 0 && latest.Sequence <= kept.Sequence
}

func (v *View) listOf(latest Latest) *list.List {
	if latest.State.State == presence.Offline {
		return &v.offline
	}
	return &v.others
}

func (v *View) forget(place *list.Element) {
	gone := *entry(place)
	v.bytes -= size(gone)
	v.listOf(gone).Remove(place)
	delete(v.places, gone.State.UserID)
}

// shrink forgets users until v is small enough. The last one stays.
func (v *View) shrink() {
	for v.bytes > v.maxBytes && len(v.places) > 1 {
		if first := v.offline.Front(); first != nil {
			v.forget(first)
			continue
		}
		v.forget(v.others.Front())
	}
}

func entry(place *list.Element) *Latest { return place.Value.(*Latest) }

func size(latest Latest) int { return entryBytes + len(latest.State.Published().JSON) }
