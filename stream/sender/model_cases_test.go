package sender_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
)

// Sequences that random ones come to seldom, against the same model.
func TestOutboxAgreesWithItsModelWhereThatIsRare(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*world){
		"a state in a batch outlives the delivery that it came with":  stateOutlivesItsDelivery,
		"a period ends just after the room for what was sent is full": periodEndsWhenFull,
		"a batch that may have arrived is given up":                   batchIsGivenUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(0, 0)) //nolint:gosec // It is to be the same each time.
				c := modelConfig(rng)
				c.MaxStates, c.MaxBytes = 3, 1<<20
				c.AckWait, c.TTL, c.OfflineTTL = 30*time.Second, 15*time.Minute, time.Hour
				w := newWorld(t, rng, c, 1)
				happens(w)
				w.checkHeld()
				w.finish()
				w.box.Close()
			})
		})
	}
}

// stores has a delivery of the last update of some users come, or of a new one.
func (w *world) stores(to presence.ServerName, isNew bool, users ...presence.UserID) *message {
	w.t.Helper()
	d := w.message(to)
	for _, user := range users {
		if isNew {
			w.updates[user]++
		}
		d.states = append(d.states, &said{of: d, user: user, epoch: w.epoch, sequence: w.updates[user], text: strconv.FormatUint(w.updates[user], 10)})
	}
	w.note("delivery %d is stored: %v", d.index, d.states)
	return d
}

// begins begins to send all that is due. It returns the batches by origin.
func (w *world) begins() map[string]*attempt {
	w.t.Helper()
	began := make(map[string]*attempt)
	w.before = w.count
	for b, due := w.box.Take(); due; b, due = w.box.Take() {
		began[b.Origin.String()] = w.takes(b)
		w.begin()
	}
	return began
}

// sends sends all that is due.
func (w *world) sends() {
	w.t.Helper()
	for _, a := range w.begins() {
		w.endWith(a, nil)
	}
}

// A destination fails, and there is no room: a delivery of three states is left to the server
// for one of them, while another one is in a batch. It comes again, and the others are sent.
// There is no room once more, and the state in the batch is not sent yet.
func stateOutlivesItsDelivery(w *world) {
	w.t.Helper()
	ann, bob, cat := usersOfModel()[0], usersOfModel()[1], usersOfModel()[2]
	to := destinationsOfModel()
	d := w.stores(to[0], true, ann, bob, cat)
	w.deliver(d)
	began := w.begins()
	w.endWith(began["example.com"], &sender.Unsent{Err: errAnswer})
	w.relieve()
	if d.held {
		w.fail("the delivery is held, want that it is left to the server")
	}
	w.deliver(d)
	w.pass(10*time.Second, true)
	w.sends()
	w.endWith(began["example.org"], errAnswer)
	for _, other := range to[1:] {
		w.deliver(w.stores(other, false, bob))
	}
	w.relieve()
	w.acknowledge()
}

// As many states are sent as a period has room for, then one more, and then its time is over.
// An older state than the last one but one comes.
func periodEndsWhenFull(w *world) {
	w.t.Helper()
	ann, bob, cat := usersOfModel()[0], usersOfModel()[1], usersOfModel()[2]
	to := destinationsOfModel()
	late := w.stores(to[0], true, bob)
	newer := w.stores(to[0], true, bob)
	w.deliver(w.stores(to[1], true, ann, cat))
	w.pass(remembered-time.Second, true)
	w.sends()
	w.deliver(newer)
	w.sends()
	w.deliver(w.stores(to[1], false, bob))
	w.sends()
	w.pass(2*time.Second, true)
	w.deliver(late)
	w.sends()
	w.acknowledge()
}

// A batch that may have arrived becomes too old. The update before is replayed.
func batchIsGivenUp(w *world) {
	w.t.Helper()
	bob, to := usersOfModel()[1], destinationsOfModel()[0]
	w.stores(to, true, bob)
	w.deliver(w.stores(to, true, bob))
	for _, pause := range []time.Duration{w.config.TTL - 20*time.Second, 40 * time.Second} {
		w.endWith(w.begins()["example.com"], errAnswer)
		w.pass(pause, true)
	}
	w.sends()
	w.updates[bob]--
	replay := w.stores(to, false, bob)
	replay.replay = true
	w.deliver(replay)
	w.sends()
	w.acknowledge()
}
