package stream //nolint:testpackage // Exports what a worker knows of others to the tests: it takes minutes to bring that about.

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Membership returns what w knows of the others, if it serves the layout of a generation
// since a moment, has joined the others, and heard itself and had itself stored then.
func (w *Worker) Membership(generation int, since time.Time) Membership {
	o := w.newOwnership()
	o.end = func() {}
	o.joined = true
	o.layout.Generation = generation
	o.members.generation, o.members.since = generation, since
	o.looked, o.renewed, o.echoed = since, since, since
	return Membership{o}
}

// Receive takes a message over that came where heartbeats do.
func (m Membership) Receive(subject string, data []byte) {
	m.o.hear(&nats.Msg{Subject: subject, Data: data})
}

// Look looks who is gone.
func (m Membership) Look(now time.Time) { m.o.look(now) }

// Renew notes that the server has stored a heartbeat that was sent at a moment.
func (m Membership) Renew(sent time.Time) { m.o.renew(sent) }

// Heard reports when the worker heard itself last.
func (m Membership) Heard() time.Time { return m.o.echoed }

// Instance returns the ID of the worker's run, and when that began.
func (m Membership) Instance() (string, time.Time) { return m.o.beat.Instance, m.o.beat.Started }

// Others returns the IDs of the others that are there, in order.
func (m Membership) Others() []string { return slices.Sorted(maps.Keys(m.o.members.others)) }

// Staying returns the IDs of the workers that have a share, in order.
func (m Membership) Staying(now time.Time) []string {
	return slices.Sorted(slices.Values(m.o.members.staying(now)))
}

// Stopped returns why the worker stops, nil if it does not.
func (m Membership) Stopped() error { return m.o.failure }

// LooksForLayout reports whether the worker has been hinted at another layout.
func (m Membership) LooksForLayout() bool { return len(m.o.watch.poked) > 0 }
