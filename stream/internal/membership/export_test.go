package membership

import (
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/stream/wire"
)

// Stand makes m serve the layout of a generation since a moment, as if it had joined the
// others, and had heard itself and had itself stored then.
func (m *Members) Stand(generation int, since time.Time) {
	m.starts(time.Now())
	m.end = func() {}
	m.joined = true
	m.layout.Generation = generation
	m.others.generation, m.others.since = generation, since
	m.looked, m.renewed, m.echoed = since, since, since
}

// Hear takes a heartbeat over that was heard at a moment. One of the worker itself makes
// it a member.
func (m *Members) Hear(h wire.Heartbeat, at time.Time) {
	if h.Worker == m.others.self {
		m.beat, m.renewed, m.echoed = h, at, at
		return
	}
	m.others.note(h, at)
}

// Receive takes a message over that came where heartbeats do.
func (m *Members) Receive(subject string, data []byte) {
	m.hear(&nats.Msg{Subject: subject, Data: data})
}

// Look looks who is gone.
func (m *Members) Look(now time.Time) { m.look(now) }

// Renew notes that the server has stored a heartbeat that was sent at a moment.
func (m *Members) Renew(sent time.Time) { m.renew(sent) }

// Heard reports when the worker heard itself last.
func (m *Members) Heard() time.Time { return m.echoed }

// Started reports when the worker's run began.
func (m *Members) Started() time.Time { return m.beat.Started }

// Others returns the IDs of the others that are there, in order.
func (m *Members) Others() []string { return slices.Sorted(maps.Keys(m.others.known)) }

// Staying returns the IDs of the workers that have a share, in order.
func (m *Members) Staying(now time.Time) []string {
	return slices.Sorted(slices.Values(m.others.staying(now)))
}

// MayClaim reports whether the worker claims a partition of its share.
func (m *Members) MayClaim(partition int, now time.Time) bool { return m.mayClaim(partition, now) }

// Holders returns by partition which worker has it.
func (m *Members) Holders(partitions int) []string { return m.others.holders(partitions, m.beat) }

// Stopped returns why the worker stops, nil if it does not.
func (m *Members) Stopped() error { return m.failure }

// LooksForLayout reports whether the worker has been hinted at another layout.
func (m *Members) LooksForLayout() bool { return len(m.watch.poked) > 0 }
