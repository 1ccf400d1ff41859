package sender_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
)

// remembered is for how long at least a sender knows what it sent, or the wait for an
// acknowledgement where that is longer.
const remembered = time.Minute

// message is a delivery in the stream, and what became of it.
type message struct {
	index    int // over all streams that there were
	sequence uint64
	stored   time.Time
	replay   bool
	to       presence.UserID
	states   []*said

	gone    bool   // its stream was deleted
	came    int    // how often it came
	taken   int    // batches that had been taken when it came and was not held
	reply   string // with which it came last
	held    bool
	let     bool // no longer held, and its states may be sent nonetheless
	settled bool // the server has its acknowledgement
}

// said is one state of a message.
type said struct {
	of       *message
	user     presence.UserID
	epoch    int64
	sequence uint64 // 0 where a router made it up
	text     string // the same where two states are
	offline  bool
	relieved bool // a newer one stood for it when there was no room
}

// key is whose state it is, and which server gets it.
type key struct {
	to   presence.ServerName
	user presence.UserID
}

func (s *said) key() key { return key{s.of.to.Server(), s.user} }

func (s *said) String() string { return fmt.Sprintf("%s %q (%d)", s.user, s.text, s.of.index) }

// update compares the updates of two states: by epoch and sequence, by their deliveries where
// a router made one up.
func (s *said) update(other *said) int {
	switch {
	case s.epoch != other.epoch:
		return int(s.epoch - other.epoch)
	case s.sequence == 0 || other.sequence == 0:
		return s.of.index - other.of.index
	default:
		return int(s.sequence) - int(other.sequence) //nolint:gosec // Small numbers.
	}
}

// newer reports whether s is what a server is to get last of the two.
func (s *said) newer(other *said) bool {
	if c := s.update(other); c != 0 {
		return c > 0
	}
	return s.of.index > other.of.index
}

// leaving is a state in a batch. Of several deliveries that say the same it may be the last,
// where that was let go of.
type leaving struct {
	*said

	last *said // that it may be
}

// transmitted is a state that was sent, or may have been.
type transmitted struct {
	leaving

	number int // of the batch
	at     time.Time
	after  int  // states that were transmitted before the step
	sure   bool // it was sent
}

// attempt is a batch that was taken.
type attempt struct {
	sender.Batch

	number    int
	route     route
	states    []leaving
	underWay  bool
	forgotten bool
	mayHave   bool // arrived
	begun     bool
	stopped   bool // told to stop
	ended     time.Time
	before    int // states that were transmitted before it ended
}

type route struct{ from, to presence.ServerName }

// way is what is known of a route.
type way struct {
	batch   *attempt // that was taken last, and neither sent, given up nor taken apart
	failing bool
	notBy   time.Time // when it may be tried again
}

// model is what has to hold, step by step, whatever happens.
type model struct {
	t      *testing.T
	config sender.Config
	box    *sender.Outbox
	label  string
	steps  []string

	messages     []*message
	bySeq        map[uint64]*message // as it came last
	until        []time.Time         // of each part's pin
	ways         map[route]*way
	sent         map[key][]transmitted
	acknowledged map[string]bool // reply subjects
	count        int             // states that were transmitted
	before       int             // the same, before the step
	taken        int             // batches
	underWay     []*attempt
}

func (m *model) note(format string, args ...any) {
	m.steps = append(m.steps, fmt.Sprintf(format, args...))
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	at := max(0, len(m.steps)-80)
	m.t.Fatalf("%s: %s, after step %d and\n%s", m.label, fmt.Sprintf(format, args...), at, strings.Join(m.steps[at:], "\n"))
}

func (m *model) way(r route) *way {
	w, found := m.ways[r]
	if !found {
		w = &way{}
		m.ways[r] = w
	}
	return w
}

func (m *model) pinned(part int) bool { return time.Now().Before(m.until[part]) }

// partOf is the part that deliveries to a server are in.
func (m *model) partOf(to presence.ServerName) int {
	return slices.Index(destinationsOfModel(), to) % len(m.until)
}

// sameKey calls do with all states of a key that have come.
func (m *model) sameKey(k key, do func(*said)) {
	for _, message := range m.messages {
		if message.came == 0 || message.to.Server() != k.to {
			continue
		}
		for _, s := range message.states {
			if s.user == k.user {
				do(s)
			}
		}
	}
}

// wasSent reports whether the server has s, or something that leaves nothing of s to send. A
// newer state that may have arrived is enough: it comes again.
func (m *model) wasSent(s *said) bool {
	return slices.ContainsFunc(m.sent[s.key()], func(have transmitted) bool {
		if c := have.update(s); c != 0 {
			return c > 0
		}
		return have.sure && (have.last.of.index >= s.of.index || have.text == s.text && !s.of.replay || have.number > s.of.taken)
	})
}

// superseded reports whether a newer state than s has come, or the same one once more.
func (m *model) superseded(s *said, by func(*said) bool) (found bool) {
	m.sameKey(s.key(), func(other *said) {
		same := other != s && other.update(s) == 0
		found = found || (other.newer(s) || same) && by(other)
	})
	return found
}

func anything(*said) bool { return true }

// tooOld reports whether s may be given up.
func (m *model) tooOld(s *said) bool {
	age := time.Since(s.of.stored)
	return age > m.config.OfflineTTL || age > m.config.TTL && (!s.offline || m.superseded(s, anything))
}

// isSettled reports whether nothing is left to do about s.
func (m *model) isSettled(s *said) bool {
	return !isSendable(s.user) || m.wasSent(s) || m.tooOld(s) || s.relieved || m.superseded(s, m.tooOld)
}

func (m *model) isDone(d *message) bool {
	return !slices.ContainsFunc(d.states, func(s *said) bool { return !m.isSettled(s) })
}

// checkHeld has what is held be what should be.
func (m *model) checkHeld() {
	m.t.Helper()
	if err := m.box.Count(); err != nil {
		m.fail("%v", err)
	}
	held := m.box.Held()
	for sequence, d := range m.bySeq {
		stored, found := held[sequence]
		if is := found && stored.Equal(d.stored); is != d.held {
			m.fail("delivery %d is held: %t, want %t", d.index, is, d.held)
		}
	}
	kept := m.box.Kept()
	for _, d := range m.messages {
		if d.held && !slices.Contains(kept, d.reply) && !m.isDone(d) {
			m.fail("the server is not told that delivery %d is in work, at %s", d.index, d.reply)
		}
	}
}

// isHeld reports whether the outbox has d.
func isHeld(d *message, held map[uint64]time.Time) bool {
	stored, found := held[d.sequence]
	return found && stored.Equal(d.stored)
}

// remember notes the states of a batch as transmitted.
func (m *model) remember(a *attempt, sure bool) {
	for _, s := range a.states {
		m.count++
		m.sent[s.key()] = append(m.sent[s.key()], transmitted{leaving: s, number: a.number, at: a.ended, after: a.before, sure: sure})
	}
}

// forgets has the outbox have forgotten what was read in a part.
func (m *model) forgets(part int) {
	m.t.Helper()
	at := time.Now()
	if m.until[part].Before(at) {
		at = m.until[part]
	}
	m.until[part] = time.Time{}
	for r, w := range m.ways {
		if w.batch == nil || m.partOf(r.to) != part {
			continue
		}
		if w.batch.underWay || w.batch.mayHave {
			if w.batch.underWay {
				w.batch.ended, w.batch.before = at, m.before
			}
			m.remember(w.batch, false)
		}
		w.batch.forgotten = true
		w.batch = nil
	}
	held := m.box.Held()
	for _, d := range m.messages {
		if m.partOf(d.to.Server()) != part {
			continue
		}
		d.let = false
		if !d.held {
			continue
		}
		d.held = isHeld(d, held)
		if d.held && !m.isDone(d) {
			m.fail("delivery %d is held though its pin is lost and it is not done", d.index)
		}
		if !d.held && m.acknowledged[d.reply] {
			m.fail("delivery %d, which was acknowledged, is forgotten", d.index)
		}
	}
}

// lapse forgets what was read under pins that are over.
func (m *model) lapse() {
	m.t.Helper()
	for part, until := range m.until {
		if !until.IsZero() && !m.pinned(part) {
			m.note("the pin of part %d is over", part)
			m.forgets(part)
		}
	}
	m.checkStops()
}

// checkStops has sends stop where what they send was forgotten, and no others.
func (m *model) checkStops() {
	m.t.Helper()
	for _, a := range m.underWay {
		if a.begun && a.stopped != a.forgotten {
			m.fail("the send of batch %d to %s was told to stop: %t, want %t", a.number, a.Destination, a.stopped, a.forgotten)
		}
	}
}

// takes has the outbox have handed a batch over.
func (m *model) takes(b sender.Batch) *attempt {
	m.t.Helper()
	r := route{b.Origin, b.Destination}
	w := m.way(r)
	a := &attempt{Batch: b, number: m.taken + 1, route: r, underWay: true}
	again := w.batch != nil && w.batch.ID == b.ID
	m.note("batch %s to %s is taken, again: %t: %s", b.ID[13:], b.Destination, again, b.Contents)
	switch {
	case !m.pinned(m.partOf(b.Destination)):
		m.fail("a batch to %s is handed over without a pin", b.Destination)
	case slices.ContainsFunc(m.underWay, func(other *attempt) bool { return other.route == r }):
		m.fail("a batch to %s is handed over while another one is on its way", b.Destination)
	case time.Now().Before(w.notBy):
		m.fail("a batch to %s is handed over %v too early", b.Destination, time.Until(w.notBy))
	case time.Since(b.Time) > m.config.TTL:
		m.fail("a batch to %s is handed over that is %v old, want %v at most", b.Destination, time.Since(b.Time), m.config.TTL)
	case again && !w.batch.mayHave:
		m.fail("a batch to %s that did not arrive is handed over again", b.Destination)
	case again:
		if string(b.Contents[0]) != string(w.batch.Contents[0]) || !b.Time.Equal(w.batch.Time) {
			m.fail("a batch to %s is another one than before", b.Destination)
		}
		a = w.batch
		a.underWay, a.begun, a.stopped = true, false, false
	default:
		m.takesNew(w, a)
	}
	m.underWay = append(m.underWay, a)
	w.batch = a
	return a
}

// takesNew is takes of a batch that was not handed over before.
func (m *model) takesNew(w *way, a *attempt) {
	m.t.Helper()
	if w.batch != nil && time.Since(w.batch.Time) <= m.config.TTL {
		m.fail("a batch to %s is handed over instead of one that may have arrived", a.Destination)
	}
	if w.batch != nil { // That one is given up.
		m.remember(w.batch, false)
	}
	m.taken++
	var content struct {
		Push []struct {
			UserID presence.UserID `json:"user_id"`
			Text   string          `json:"status_msg"`
		} `json:"push"`
	}
	if err := json.Unmarshal(a.Contents[0], &content); err != nil {
		m.fail("decode %s: %v", a.Contents[0], err)
	}
	for _, p := range content.Push {
		a.states = append(a.states, m.mayBeSent(key{a.Destination, p.UserID}, p.Text))
	}
	if len(a.states) == 0 || a.States != len(a.states) {
		m.fail("a batch has %d states, it says %d", len(a.states), a.States)
	}
}

// mayBeSent returns which state it is that is handed over.
func (m *model) mayBeSent(k key, text string) leaving {
	m.t.Helper()
	var s, last *said
	m.sameKey(k, func(other *said) {
		if other.text != text || !other.of.held && !other.of.let {
			return
		}
		last = other // They come in order.
		if s == nil || other.of.held || !s.of.held {
			s = other
		}
	})
	if s == nil {
		m.fail("%s of %s is handed over, of which no delivery is held", text, k.user)
	}
	age, limit := time.Since(last.of.stored), m.config.TTL
	if s.offline {
		limit = m.config.OfflineTTL
	}
	if age > limit {
		m.fail("%s is handed over, which is %v old, want %v at most", s, age, limit)
	}
	m.sameKey(k, func(other *said) {
		if other.of.held && other.newer(s) && !m.isSettled(other) && other.update(s) != 0 {
			m.fail("%s is handed over, though %s is held", s, other)
		}
	})
	m.followsWhatWasSent(s)
	return leaving{s, last}
}

// followsWhatWasSent has s be news to its server, as far as the sender has to know.
func (m *model) followsWhatWasSent(s *said) {
	m.t.Helper()
	all := m.sent[s.key()]
	for n, have := range all {
		if time.Since(have.at) >= max(remembered, m.config.AckWait) || m.count-have.after >= m.config.MaxStates {
			continue
		}
		c := s.update(have.said)
		if c < 0 {
			m.fail("%s is handed over after %s, sent for sure: %t", s, have.said, have.sure)
		}
		if c == 0 && n == len(all)-1 && have.sure && !m.asksForMore(s, have.said) {
			m.fail("%s is sent once more, after %s", s, have.said)
		}
	}
}

// settles has the send of a batch have ended.
func (m *model) settles(a *attempt, err error, isSent, isUnknown bool) {
	m.t.Helper()
	a.underWay = false
	m.underWay = slices.DeleteFunc(m.underWay, func(other *attempt) bool { return other == a })
	if a.forgotten {
		return
	}
	a.ended, a.before = time.Now(), m.before
	w := m.way(a.route)
	w.failing = err != nil
	switch {
	case isSent:
		m.remember(a, true)
		w.batch = nil
	case isUnknown:
		a.mayHave = true
	case !a.mayHave:
		w.batch = nil
	}
}

// acknowledges checks an acknowledgement, which may be a further try of one.
func (m *model) acknowledges(sequence uint64, stored time.Time, reply string) {
	m.t.Helper()
	d := m.bySeq[sequence]
	m.note("delivery %d is acknowledged at %s", d.index, reply)
	switch {
	case !d.stored.Equal(stored):
		m.fail("acknowledged is a delivery of a stream that is gone, with the sequence of delivery %d", d.index)
	case m.acknowledged[reply]:
		return
	case !d.held:
		m.fail("delivery %d is acknowledged, which is not held", d.index)
	case d.reply != reply:
		m.fail("delivery %d is acknowledged at %s, want %s", d.index, reply, d.reply)
	}
	for _, s := range d.states {
		if !m.isSettled(s) {
			m.fail("delivery %d is acknowledged, though %s was not sent", d.index, s)
		}
	}
	m.acknowledged[reply] = true
}

// asksForMore reports whether s, or another delivery that it stands for, is a replay, or says
// something else than what was sent of the same update.
func (m *model) asksForMore(s, sent *said) (found bool) {
	m.sameKey(s.key(), func(other *said) {
		found = found || (other.of.held || other.of.let) && other.text == s.text && other.of.index > sent.of.index &&
			(other.of.replay || other.text != sent.text)
	})
	return found
}
