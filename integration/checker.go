package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// Fault is one way in which a history breaks a promise of the router.
type Fault string

// The faults that Check finds.
const (
	Lost       Fault = "lost"       // a recipient never got an update
	Doubled    Fault = "doubled"    // a recipient got an update more than once
	Reordered  Fault = "reordered"  // a recipient got two updates of a user in the wrong order, or (epoch, sequence) did not grow
	Altered    Fault = "altered"    // a delivered state is not the published one, byte for byte
	Stray      Fault = "stray"      // somebody got what nobody chose them for, or what was never published
	Mislabeled Fault = "mislabeled" // subject, sequence or Presence-Source is not the one of the update
	WrongDead  Fault = "wrong dead" // a dead letter is missing, there twice, uncalled for or of another reason
	Backwards  Fault = "backwards"  // a partition's checkpoint went back, or its deliveries did
)

// Verdict is what Check found.
type Verdict struct {
	Faults   map[Fault]int // how often, by kind; empty where the router kept its promises
	Examples []string      // the first of each kind, one line each
	States   int           // delivered, counted for each recipient
	Dropped  int           // of them, what a reader dropped
}

// OK reports whether nothing was found.
func (v Verdict) OK() bool { return len(v.Faults) == 0 }

// String returns the verdict with its examples, one a line.
func (v Verdict) String() string {
	if v.OK() {
		return fmt.Sprintf("every promise kept: %d states delivered, %d of them dropped by readers", v.States, v.Dropped)
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(v.Faults)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", v.Faults[kind], kind))
	}
	return fmt.Sprintf("promises broken: %s (%d states delivered)\n  %s",
		strings.Join(kinds, ", "), v.States, strings.Join(v.Examples, "\n  "))
}

// Check compares what was published with what became of it: nothing lost, nothing
// twice, in order per recipient and user, bytes unchanged, dead letters exact,
// checkpoints only forwards.
func Check(h History) Verdict { return check(h, false) }

// CheckAsReader is Check for a reader of the deliveries who keeps the highest
// (epoch, sequence) of each user and drops what is not higher.
func CheckAsReader(h History) Verdict { return check(h, true) }

func check(h History, reader bool) Verdict {
	c := &checker{
		reader:  reader,
		updates: make(map[int]*expected, len(h.Updates)),
		newest:  make(map[pair]place),
		verdict: Verdict{Faults: make(map[Fault]int)},
	}
	c.expect(h.Updates)
	for _, d := range h.Deliveries {
		c.delivery(d)
	}
	c.missing(h.Updates)
	c.deadLetters(h)
	c.checkpoints(h.Checkpoints)
	if !reader {
		c.sources(h.Deliveries)
	}
	return c.verdict
}

type checker struct {
	reader  bool
	updates map[int]*expected // by number
	newest  map[pair]place
	verdict Verdict
}

// expected is an update, with how often each of its recipients got it.
type expected struct {
	Update

	rank int // in the order of updates
	got  map[presence.UserID]int
}

// pair is a recipient and a user whose updates it gets.
type pair struct{ recipient, user presence.UserID }

// place is where in the life of a user its newest delivered update stands.
type place struct {
	epoch    int64
	sequence uint64
	rank     int
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.epoch, other.epoch), cmp.Compare(p.sequence, other.sequence))
}

func (c *checker) report(kind Fault, format string, args ...any) {
	const examplesOfKind = 5
	c.verdict.Faults[kind]++
	if c.verdict.Faults[kind] <= examplesOfKind {
		c.verdict.Examples = append(c.verdict.Examples, string(kind)+": "+fmt.Sprintf(format, args...))
	}
}

func (c *checker) expect(updates []Update) {
	for rank, u := range updates {
		e := &expected{Update: u, rank: rank, got: make(map[presence.UserID]int, len(u.Recipients))}
		for _, r := range u.Recipients {
			e.got[r] = 0
		}
		c.updates[u.Number] = e
	}
}

func (c *checker) delivery(d Delivery) {
	if d.Subject.Recipient != d.Recipient {
		c.report(Mislabeled, "delivery for %s is on the subject of %s", d.Recipient, d.Subject.Recipient)
	}
	for i, raw := range d.RawStates {
		c.verdict.States++
		c.state(d, d.Sequences[i], raw)
	}
}

func (c *checker) state(d Delivery, sequence uint64, raw json.RawMessage) {
	update := c.updateOf(raw)
	if update == nil {
		c.report(Stray, "%s got what was never published: %.200s", d.Recipient, raw)
		return
	}
	to := pair{d.Recipient, update.User}
	at := place{epoch: d.Epoch, sequence: sequence, rank: update.rank}
	before, known := c.newest[to]
	if c.reader && known && at.compare(before) <= 0 {
		c.verdict.Dropped++
		return
	}
	again := known && update.Again && update.got[d.Recipient] == 1 && at.rank == before.rank && at.epoch > before.epoch
	c.label(d, update, sequence)
	c.count(d.Recipient, update, again)
	if !bytes.Equal(raw, update.JSON) {
		c.report(Altered, "%s got %s, published was %s", d.Recipient, raw, update.JSON)
	}
	if known && !again && (at.compare(before) <= 0 || at.rank <= before.rank) {
		c.report(Reordered, "%s got update %d of %s (epoch %d, sequence %d) after epoch %d, sequence %d",
			d.Recipient, update.Number, update.User, at.epoch, at.sequence, before.epoch, before.sequence)
	}
	c.newest[to] = at
}

func (c *checker) updateOf(raw json.RawMessage) *expected {
	var named struct {
		Number *int `json:"number"`
	}
	if err := json.Unmarshal(raw, &named); err != nil || named.Number == nil {
		return nil
	}
	return c.updates[*named.Number]
}

// label checks what the delivery says about an update. A sequence of 0 in the
// history is not known.
func (c *checker) label(d Delivery, update *expected, sequence uint64) {
	if update.Sequence != 0 && sequence != update.Sequence {
		c.report(Mislabeled, "update %d is at sequence %d, delivered with %d", update.Number, update.Sequence, sequence)
	}
	if sequence < d.Source.First || sequence > d.Source.Last {
		c.report(Mislabeled, "update %d at sequence %d was delivered with Presence-Source %s", update.Number, sequence, d.Source)
	}
}

func (c *checker) count(recipient presence.UserID, update *expected, again bool) {
	before, chosen := update.got[recipient]
	switch {
	case !chosen:
		c.report(Stray, "%s got update %d of %s, which is not for them", recipient, update.Number, update.User)
	case before > 0 && !again:
		c.report(Doubled, "%s got update %d of %s again", recipient, update.Number, update.User)
	}
	if chosen {
		update.got[recipient]++
	}
}

func (c *checker) missing(updates []Update) {
	for _, u := range updates {
		if u.Gone {
			continue
		}
		got := c.updates[u.Number].got
		for _, r := range u.Recipients {
			if got[r] == 0 {
				c.report(Lost, "%s never got update %d of %s (sequence %d)", r, u.Number, u.User, u.Sequence)
			}
		}
	}
}

// deadLetters compares the letters with the updates by payload.
func (c *checker) deadLetters(h History) {
	wanted := make(map[string]Update)
	for _, u := range h.Updates {
		if u.Reason != "" {
			wanted[string(u.JSON)] = u
		}
	}
	for _, l := range h.DeadLetters {
		u, found := wanted[string(l.Payload)]
		switch {
		case !found:
			c.report(WrongDead, "nobody expected the letter %q about %.80q, or not twice", l.Error, l.Payload)
		case l.Reason != u.Reason || l.SubjectReason != u.Reason:
			c.report(WrongDead, "letter about %.80q has the reason %s, on a subject that says %s, want %s", l.Payload, l.Reason, l.SubjectReason, u.Reason)
		case u.Sequence != 0 && l.Sequence != u.Sequence:
			c.report(WrongDead, "letter about %.80q names sequence %d, want %d", l.Payload, l.Sequence, u.Sequence)
		}
		delete(wanted, string(l.Payload))
		if found && u.Again {
			u.Again, u.Gone = false, true
			wanted[string(l.Payload)] = u
		}
	}
	for _, u := range wanted {
		if u.Gone {
			continue
		}
		c.report(WrongDead, "there is no letter about %.80q, want one with the reason %s", u.JSON, u.Reason)
	}
}
