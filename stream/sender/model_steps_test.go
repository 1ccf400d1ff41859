package sender_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	modelSequences = 2000
	modelSteps     = 120
)

// Whatever happens in whatever order, a sender does what docs/federation.md says: random
// sequences of deliveries, sends, pins and time, against a model of it.
func TestOutboxAgreesWithItsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(modelSequences) {
		synctest.Test(t, func(t *testing.T) { runModel(t, seed) })
		if t.Failed() {
			return
		}
	}
}

func runModel(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // It is to be the same each time.
	w := newWorld(t, rng, modelConfig(rng), 1+rng.IntN(2))
	w.label = fmt.Sprintf("seed %d", seed)
	for range modelSteps {
		w.step()
		synctest.Wait()
		w.lapse()
		w.checkHeld()
	}
	w.finish()
	w.box.Close()
}

// world is what happens to an outbox: the stream that it reads, the server, the destinations.
type world struct {
	*model

	rng     *rand.Rand
	next    uint64 // sequence in the stream
	epoch   int64
	updates map[presence.UserID]uint64 // sequences
	madeUp  map[presence.UserID]bool   // what was said last
	pending sender.Acks                // not confirmed
}

func destinationsOfModel() []presence.ServerName {
	return []presence.ServerName{server("somewhere.org"), server("elsewhere.net"), server("full.net")}
}

// usersOfModel are two of one origin, one of another and one whose states are not ours to send.
// For the first one, routers make states up and nobody asks for a replay.
func usersOfModel() []presence.UserID {
	return []presence.UserID{
		presence.MustUserID("@ann:example.com"), presence.MustUserID("@bob:example.com"),
		presence.MustUserID("@cat:example.org"), presence.MustUserID("@dan:other.net"),
	}
}

func isSendable(user presence.UserID) bool { return user != usersOfModel()[3] }

func modelConfig(rng *rand.Rand) sender.Config {
	c := config()
	c.Origins = []presence.ServerName{server("example.com"), server("example.org")}
	c.MaxStates = []int{3, 6, 12, 100}[rng.IntN(4)]
	c.MaxBytes = []int64{3000, 1 << 20}[rng.IntN(2)]
	c.AckWait = []time.Duration{30 * time.Second, 5 * time.Minute}[rng.IntN(2)]
	c.TTL = []time.Duration{20 * time.Second, 2 * time.Minute, 15 * time.Minute}[rng.IntN(3)]
	c.OfflineTTL = c.TTL * time.Duration(1+rng.IntN(3))
	c.FirstRetry, c.LongestRetry = time.Second, 10*time.Second
	return c
}

func newWorld(t *testing.T, rng *rand.Rand, c sender.Config, parts int) *world {
	t.Helper()
	return &world{
		model: &model{
			t: t, config: c, box: sender.NewOutbox(c, parts), until: make([]time.Time, parts), label: t.Name(),
			bySeq: make(map[uint64]*message), ways: make(map[route]*way), sent: make(map[key][]transmitted),
			acknowledged: make(map[string]bool),
		},
		rng: rng, epoch: 1, updates: make(map[presence.UserID]uint64), madeUp: make(map[presence.UserID]bool),
	}
}

// step has one thing happen.
func (w *world) step() {
	w.t.Helper()
	w.before = w.count
	switch n := w.rng.IntN(100); {
	case n < 25:
		d := w.commit()
		if w.rng.IntN(4) > 0 { // else it comes late
			w.deliver(d)
		}
	case n < 35:
		w.deliverAny()
	case n < 52:
		w.take()
	case n < 67:
		w.begin()
	case n < 82:
		w.end()
	case n < 86:
		w.relieve()
	case n < 90:
		w.acknowledge()
		w.confirm(w.rng.IntN(3) > 0)
	case n < 97:
		w.pass([]time.Duration{time.Second, 7 * time.Second, w.config.TTL / 2, w.config.AckWait / 2, 70 * time.Second}[w.rng.IntN(5)],
			w.rng.IntN(8) > 0)
	case n < 98:
		w.lose(w.rng.IntN(len(w.until)))
	case n < 99:
		w.epoch++
		clear(w.updates)
		clear(w.madeUp)
		w.note("epoch %d begins", w.epoch)
	case w.rng.IntN(2) == 0:
		w.restart()
	default:
		w.makeStreamAgain()
	}
}

// commit stores a delivery.
func (w *world) commit() *message {
	d := w.message(destinationsOfModel()[w.rng.IntN(3)])
	d.replay = w.rng.IntN(8) == 0
	for n, user := range usersOfModel() {
		some := n == 1 && len(d.states) == 0 // so that there is one at least
		if (some || w.rng.IntN(2) == 0) && (n > 0 || !d.replay) {
			d.states = append(d.states, w.says(d, user))
		}
	}
	w.note("delivery %d is stored with sequence %d for %s: %v, replayed: %t", d.index, d.sequence, d.to, d.states, d.replay)
	return d
}

// message stores a delivery without states.
func (w *world) message(to presence.ServerName) *message {
	w.next++
	d := &message{
		index: len(w.messages) + 1, sequence: w.next,
		to: presence.MustUserID(fmt.Sprintf("@reader%d:%s", w.rng.IntN(2), to)),
	}
	d.stored = time.Now().Round(0).Add(time.Duration(d.index)) // each at another time
	w.messages = append(w.messages, d)
	return d
}

// says makes a state: of a new update, of the last one, of that altered by a router, of an
// earlier one that was asked for, or made up.
func (w *world) says(d *message, user presence.UserID) *said {
	s := &said{of: d, user: user, epoch: w.epoch}
	kind := w.rng.IntN(6)
	switch last := w.updates[user]; {
	case user == usersOfModel()[0] && kind == 5:
		w.madeUp[user] = true
		s.text = fmt.Sprintf("made up %d", d.index)
		return s
	case d.replay && last > 0:
		s.sequence = 1 + w.rng.Uint64N(last)
	case kind < 3 || last == 0 || w.madeUp[user]:
		w.updates[user]++
		w.madeUp[user] = false
		s.sequence = w.updates[user]
	default:
		s.sequence = last
	}
	s.text = fmt.Sprintf("%d.%d", s.epoch, s.sequence)
	if kind == 4 {
		s.text += fmt.Sprintf(" altered by router %d", d.index%2)
	}
	s.offline = s.sequence%3 == 0
	return s
}

// deliverAny has a delivery come that the server has no acknowledgement of, or has lost that.
func (w *world) deliverAny() {
	w.t.Helper()
	late := slices.DeleteFunc(slices.Clone(w.messages), func(d *message) bool {
		return d.gone || d.settled && w.rng.IntN(10) > 0
	})
	if len(late) > 0 {
		w.deliver(late[w.rng.IntN(len(late))])
	}
}

func (w *world) deliver(d *message) {
	w.t.Helper()
	part := w.partOf(d.to.Server())
	w.pin(part, time.Duration(w.rng.Int64N(int64(w.config.AckWait/4))))
	if other := w.bySeq[d.sequence]; other != nil && other != d && other.held {
		other.held, other.let = false, true
	}
	w.bySeq[d.sequence] = d
	if !d.held {
		d.taken = w.taken
	}
	d.came++
	d.held, d.settled = true, false
	d.reply = fmt.Sprintf("reply %d of %d", d.came, d.index)
	w.note("delivery %d comes", d.index)
	r := wire.ReceivedDelivery{}
	r.Recipient = d.to
	for _, s := range d.states {
		r.Epoch = s.epoch
		state := presence.UserState{UserID: s.user, State: presence.Online, StatusMsg: presence.Status(s.text)}
		if s.offline {
			state.State = presence.Offline
		}
		r.States = append(r.States, state)
		r.Sequences = append(r.Sequences, s.sequence)
	}
	w.box.Deliver(sender.Delivered{Part: part, Sequence: d.sequence, Reply: d.reply, Stored: d.stored, Replay: d.replay, Received: r})
}

// pin has the server say that the sender has the pin of a part.
func (w *world) pin(part int, ago time.Duration) {
	w.t.Helper()
	asked := time.Now().Add(-ago)
	w.box.Confirm(part, asked)
	w.lapse()
	if until := asked.Add(w.config.AckWait); until.After(w.until[part]) {
		w.until[part] = until
	}
}

func (w *world) take() {
	w.t.Helper()
	if b, due := w.box.Take(); due {
		w.takes(b)
	}
}

// begin begins the send of a batch that was taken.
func (w *world) begin() {
	w.t.Helper()
	for _, a := range w.underWay {
		if !a.begun {
			w.note("the send of batch %d begins", a.number)
			a.begun = true
			w.box.Begin(a.ID, func() { a.stopped = true })
			w.checkStops()
			return
		}
	}
}

var errAnswer = errors.New("answer 500")

// end ends a send, in one of the ways there are.
func (w *world) end() {
	w.t.Helper()
	begun := slices.DeleteFunc(slices.Clone(w.underWay), func(a *attempt) bool { return !a.begun })
	if len(begun) == 0 {
		return
	}
	a := begun[w.rng.IntN(len(begun))]
	const after = 20 * time.Second
	errs := []error{nil, nil, nil, &sender.Unsent{Err: errAnswer}, &sender.Unsent{Err: errAnswer}, errAnswer, &sender.RetryAfter{After: after, Err: errAnswer}}
	n := w.rng.IntN(len(errs))
	w.note("the send of batch %d ends: %v", a.number, errs[n])
	w.endWith(a, errs[n])
	if n == 6 && !a.forgotten {
		w.way(a.route).notBy = time.Now().Add(after)
	}
}

func (w *world) endWith(a *attempt, err error) {
	w.t.Helper()
	w.settles(a, err, err == nil, err != nil && !errors.As(err, new(*sender.Unsent)))
	w.box.Settle(w.t.Context(), a.ID, err)
}

// relieve has the sender look for room. Only destinations that fail are at the expense.
func (w *world) relieve() {
	w.t.Helper()
	full := w.box.Relieve()
	w.note("room is looked for, there is none: %t", full)
	if !full {
		return
	}
	held := w.box.Held()
	for _, d := range w.messages {
		if d.held && !isHeld(d, held) {
			if !w.fails(d) {
				w.fail("delivery %d is left to the server, though its destination does not fail", d.index)
			}
			w.note("delivery %d is left to the server", d.index)
			d.held, d.let = false, true
		}
	}
	for _, d := range w.messages {
		for _, s := range d.states {
			s.relieved = s.relieved || d.held && w.way(route{s.user.Server(), d.to.Server()}).failing &&
				w.superseded(s, func(other *said) bool { return other.of.held || other.of.let })
		}
	}
}

func (w *world) fails(d *message) bool {
	return slices.ContainsFunc(d.states, func(s *said) bool { return w.way(route{s.user.Server(), d.to.Server()}).failing })
}

// acknowledge tells the server what is done, and what it has not confirmed yet.
func (w *world) acknowledge() {
	w.t.Helper()
	w.pending = w.box.Done(w.pending)
	w.pending.Each(func(sequence uint64, stored time.Time, reply string) { w.acknowledges(sequence, stored, reply) })
}

// confirm has the server confirm what it was told.
func (w *world) confirm(arrives bool) {
	if !arrives {
		return
	}
	w.pending.Each(func(sequence uint64, stored time.Time, reply string) {
		if d := w.bySeq[sequence]; d.stored.Equal(stored) && d.reply == reply {
			d.held, d.settled = false, true
		}
	})
	w.box.Confirmed(w.pending)
	w.note("the server confirms acknowledgements")
	w.pending = nil
}

// pass has time pass, while the server answers or not.
func (w *world) pass(d time.Duration, heard bool) {
	w.t.Helper()
	w.note("%v pass, the server answers: %t", d, heard)
	for tick := w.config.AckWait / 4; d > 0; d -= tick {
		w.before = w.count
		time.Sleep(min(d, tick)) //nolint:forbidigo // The time of the test, which no clock shows.
		synctest.Wait()
		w.lapse()
		for part := range w.until {
			if heard && w.pinned(part) {
				w.pin(part, 0)
			}
		}
		w.box.Sweep()
	}
}

func (w *world) lose(part int) {
	w.t.Helper()
	w.note("the pin of part %d is lost", part)
	w.box.Lose(part)
	w.forgets(part)
	w.checkStops()
}

// makeStreamAgain deletes the streams and begins with new ones, in the next epoch.
func (w *world) makeStreamAgain() {
	w.note("the streams are made again")
	w.next = 0
	w.epoch++
	clear(w.updates)
	clear(w.madeUp)
	for _, d := range w.messages {
		d.gone = true
	}
}

// restart has the sender stop, and another one begin, which knows nothing.
func (w *world) restart() {
	w.t.Helper()
	w.note("the sender stops, another one begins")
	for _, a := range slices.Clone(w.underWay) {
		if !a.begun {
			w.box.Begin(a.ID, func() {})
		}
		w.endWith(a, []error{nil, errAnswer}[w.rng.IntN(2)])
	}
	w.acknowledge()
	w.confirm(w.rng.IntN(2) == 0)
	w.checkHeld()
	w.box.Close()
	w.box, w.pending = sender.NewOutbox(w.config, len(w.until)), nil
	clear(w.ways)
	clear(w.until)
	for _, d := range w.messages {
		d.held, d.let = false, false
	}
	for _, all := range w.sent {
		for n := range all {
			all[n].at = time.Time{}
		}
	}
}

// finish has all go well until everything is done.
func (w *world) finish() {
	w.t.Helper()
	w.note("all goes well from now on")
	for range 40 {
		for _, a := range slices.Clone(w.underWay) {
			if !a.begun {
				w.box.Begin(a.ID, func() {})
			}
			w.endWith(a, nil)
		}
		for _, d := range w.messages {
			if !d.gone && !d.held && !d.settled {
				w.deliver(d)
			}
		}
		for range 8 {
			w.take()
		}
		w.acknowledge()
		w.confirm(true)
		w.checkHeld()
		w.pass(7*time.Second, true)
	}
	if err := w.box.Empty(); err != nil {
		w.fail("%v", err)
	}
	for _, d := range w.messages {
		if !d.gone && !d.settled {
			w.fail("delivery %d is not acknowledged in the end", d.index)
		}
	}
}
