package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/presence-router/presence-router/integration"
)

// lane is what a nemesis strikes. One lane is struck by one nemesis at a time.
type lane int

const (
	processes lane = iota // of workers
	servers
	links
	streams // what they hold
	clocks  // of workers
	layouts // of partitions
	lanes
)

// electionTime is about how long it takes until a leader that is gone is followed.
const electionTime = 10 * time.Second

// nemesis is a way to harm a fleet. Its strike harms and heals it again; the error
// is about what could not be done.
type nemesis struct {
	name   string
	lane   lane
	strike func(ctx context.Context, f *fleet, numbers *rand.Rand) error
}

func nemeses() []nemesis {
	return []nemesis{
		{"kill a worker", processes, killWorker},
		{"stop a worker for longer than its TTL", processes, stopWorker},
		{"workers join and leave", processes, storm},
		{"restart every worker", processes, restartWorkers},
		{"kill the leader of a stream", servers, killLeader},
		{"kill a server", servers, killServer},
		{"restart every server", servers, restartServers},
		{"stop a server for longer than an election takes", servers, stopServer},
		{"kill two servers", servers, killTwoServers},
		{"leaders step down in storms", servers, stepDown},
		{"cut a worker off", links, cutOff},
		{"delay a worker", links, delay},
		{"break a worker's connections", links, breakConnections},
	}
}

// lonelyNemeses strike a fleet with one server. A power loss takes of the same stream
// each time: what the loss of both repeats is known, and not part of this.
func lonelyNemeses(forgets nemesis) []nemesis {
	return []nemesis{
		{"kill a worker", processes, killWorker},
		{"stop a worker for longer than its TTL", processes, stopWorker},
		{"workers join and leave", processes, storm},
		{"kill the server", servers, killServer},
		{"stop the server", servers, stopServer},
		{"fill the disk", servers, fillDisk},
		forgets,
		{"cut a worker off", links, cutOff},
		{"break a worker's connections", links, breakConnections},
	}
}

// forgetful returns what a power loss may take.
func forgetful() []nemesis {
	return []nemesis{
		{deliveriesCut, servers, cutDeliveries},
		{updatesCut, servers, cutUpdates},
	}
}

// alone returns what strikes where n is to strike alone. A purge and a clock that jumps
// matter to workers that take partitions over, so others are killed then.
func (n nemesis) alone() []nemesis {
	switch n.lane {
	case streams:
		return []nemesis{n, {"kill a worker", processes, killWorker}}
	case clocks:
		return []nemesis{{"clocks jump back while a worker is dead", processes, jumpWhileDead}}
	default:
		return []nemesis{n}
	}
}

// upTo returns a random time below most.
func upTo(numbers *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(numbers.Int64N(int64(most)))
}

func after(ctx context.Context, d time.Duration) { waitUntil(ctx, time.Now().Add(d)) }

func (f *fleet) pick(numbers *rand.Rand) *member { return f.members[numbers.IntN(len(f.members))] }

// killWorker starts the next worker before or after the others know.
func killWorker(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	m := f.pick(numbers)
	f.kill(m)
	after(ctx, upTo(numbers, 2*f.tuning.ttl))
	f.restart(m)
	return nil
}

// stopWorker makes a zombie: it wakes up when others have its partitions.
func stopWorker(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	m := f.pick(numbers)
	m.process.signal(syscall.SIGSTOP)
	after(ctx, f.tuning.ttl+upTo(numbers, 2*f.tuning.ttl))
	m.process.signal(syscall.SIGCONT)
	return nil
}

// storm has guests come and go, asked to or not, some before they have begun.
func storm(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	guests := f.guests[:2+numbers.IntN(len(f.guests)-1)]
	for _, g := range guests {
		f.restart(g)
		after(ctx, upTo(numbers, f.tuning.ttl))
	}
	for n, g := range guests {
		if n%2 == 0 {
			f.leave(g)
		} else {
			f.kill(g)
		}
		after(ctx, upTo(numbers, f.tuning.ttl/2))
	}
	return nil
}

// restartWorkers is a rolling restart: each worker hands over, and the next one
// follows when it is ready again.
func restartWorkers(_ context.Context, f *fleet, _ *rand.Rand) error {
	for _, m := range f.members {
		f.leave(m)
		f.restart(m)
		if err := m.process.logged(shareClaimed, fleetTimeout); err != nil {
			return err
		}
	}
	return nil
}

// killLeader has the leader of a stream away until another one leads, or not.
func killLeader(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	stream := []string{f.subjects.UpdatesStream(), f.subjects.DeliveriesStream()}[numbers.IntN(2)]
	leader, err := f.cluster.Leader(ctx, f.js, stream)
	if err != nil {
		return err
	}
	return f.restartServer(ctx, leader, syscall.SIGKILL, upTo(numbers, electionTime))
}

func killServer(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	server := f.cluster.Servers[numbers.IntN(len(f.cluster.Servers))]
	return f.restartServer(ctx, server, syscall.SIGKILL, upTo(numbers, 2*time.Second))
}

// stopServer makes a zombie of a leader: when it wakes up, another one leads.
func stopServer(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	leader, err := f.cluster.Leader(ctx, f.js, f.subjects.DeliveriesStream())
	if err != nil {
		return err
	}
	if err := leader.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	after(ctx, electionTime/2+upTo(numbers, electionTime))
	if err := leader.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	return f.awaitCurrent(ctx)
}

// killTwoServers takes the majority away for a while.
func killTwoServers(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	two := numbers.Perm(len(f.cluster.Servers))[:2]
	for _, i := range two {
		if err := f.cluster.Servers[i].Kill(); err != nil {
			return err
		}
		after(ctx, upTo(numbers, time.Second))
	}
	after(ctx, upTo(numbers, 3*time.Second))
	for _, i := range two {
		if err := f.cluster.Servers[i].Start(ctx); err != nil {
			return err
		}
		after(ctx, upTo(numbers, time.Second))
	}
	return f.awaitCurrent(ctx)
}

// stepDown has the leaders of all streams step down several times within 2 s, as
// servers do that are busy or drained. Where streams have one replica, nobody can
// take over, and nothing happens.
func stepDown(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	const storms, within = 6, 2 * time.Second
	streams := []string{f.subjects.UpdatesStream(), f.subjects.DeliveriesStream(), "KV_" + f.subjects.WorkersBucket()}
	obeyed := 0
	for range storms {
		numbers.Shuffle(len(streams), func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
		for _, stream := range streams {
			answer, err := f.nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, time.Second)
			if err == nil && bytes.Contains(answer.Data, []byte(`"success":true`)) {
				obeyed++
			}
		}
		after(ctx, upTo(numbers, 2*within/storms))
	}
	if obeyed == 0 && f.tuning.replicas > 1 {
		return fmt.Errorf("none of %d leaders stepped down", storms*len(streams))
	}
	return f.awaitCurrent(ctx)
}

func restartServers(ctx context.Context, f *fleet, _ *rand.Rand) error {
	for _, s := range f.cluster.Servers {
		if err := f.restartServer(ctx, s, syscall.SIGTERM, 0); err != nil {
			return err
		}
	}
	return nil
}

// cutOff partitions the network in one direction or both. What was sent meanwhile
// arrives late or never.
func cutOff(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	link := f.pick(numbers).link
	link.Hold([]integration.Direction{integration.ToServers, integration.ToClient, integration.Both}[numbers.IntN(3)])
	after(ctx, f.tuning.ttl+upTo(numbers, 3*f.tuning.ttl))
	if numbers.IntN(2) == 0 {
		link.Cut()
	}
	link.Pass()
	return nil
}

// delay has answers come later than a commit waits for them.
func delay(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	link := f.pick(numbers).link
	link.Delay(2 * time.Second)
	after(ctx, 3*time.Second+upTo(numbers, 3*time.Second))
	link.Pass()
	return nil
}

// breakConnections loses answers before it breaks a connection: what became of the
// requests has to be found out, and faster than others take the partitions over.
func breakConnections(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	for range 3 {
		link := f.pick(numbers).link
		link.Hold(integration.ToClient)
		after(ctx, f.tuning.ttl/20+upTo(numbers, f.tuning.ttl/4))
		link.Cut()
		link.Pass()
		after(ctx, upTo(numbers, f.tuning.ttl))
	}
	return nil
}
