package integration_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
)

// amidAfter is how many messages of a batch are stored before it is struck: the
// checkpoint that begins it, and a delivery.
const amidAfter = 2

// amid stands between a worker and the servers and strikes in the middle of a batch of
// fast ingest, which a link hits by chance alone.
type amid struct {
	mu    sync.Mutex
	armed *blow
}

// blow is what becomes of the first message that follows amidAfter others.
type blow struct {
	verdict natstest.Verdict
	reached chan struct{} // closed when the message is there
	goOn    chan struct{} // closed when it may go on, and what follows it
}

func amidNemeses() []nemesis {
	return []nemesis{
		{"kill a worker amid a batch", processes, killAmid},
		{"hold a worker amid a batch", links, holdAmid},
		{"break a connection amid a batch", links, breakAmid},
		{"lose a message amid a batch", links, loseAmid},
	}
}

// urls returns where to connect to instead of servers.
func (a *amid) urls(tb testing.TB, servers []string) []string {
	tb.Helper()
	through := make([]string, len(servers))
	for i, server := range servers {
		through[i] = (&natstest.Proxy{FromClient: a.look}).Start(tb, server)
	}
	return through
}

func (a *amid) look(frame []byte) ([]byte, natstest.Verdict) {
	if placeInBatch(frame) <= amidAfter {
		return frame, natstest.Pass
	}
	a.mu.Lock()
	b := a.armed
	a.armed = nil
	a.mu.Unlock()
	if b == nil {
		return frame, natstest.Pass
	}
	close(b.reached)
	<-b.goOn
	return frame, b.verdict
}

// placeInBatch returns which message of a batch of fast ingest a frame is, 0 where it is
// none or ends the batch.
func placeInBatch(frame []byte) int {
	line, _, _ := bytes.Cut(frame, []byte("\r\n"))
	fields := bytes.Fields(line)
	if len(fields) != 5 || string(fields[0]) != "HPUB" {
		return 0
	}
	reply, found := bytes.CutSuffix(fields[2], []byte(".1.$FI"))
	if !found {
		return 0
	}
	place, err := strconv.Atoi(string(reply[bytes.LastIndexByte(reply, '.')+1:]))
	if err != nil {
		return 0
	}
	return place
}

// errNoBatch says that a worker sent no batch that could be struck.
var errNoBatch = errors.New("no batch is sent")

// strike waits until the worker is amid a batch, has meanwhile happen then, and lets it
// go on.
func (a *amid) strike(ctx context.Context, verdict natstest.Verdict, meanwhile func()) error {
	b := &blow{verdict: verdict, reached: make(chan struct{}), goOn: make(chan struct{})}
	defer close(b.goOn)
	a.arm(b)
	defer a.arm(nil)
	select {
	case <-b.reached:
		meanwhile()
		return nil
	case <-time.After(fleetTimeout):
		return errNoBatch
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *amid) arm(b *blow) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed = b
}

// holdAmid holds a worker in the middle of a batch until others have its partitions.
// Then what it sent arrives.
func holdAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	return f.pick(numbers).amid.strike(ctx, natstest.Pass, func() { after(ctx, 2*f.tuning.ttl+upTo(numbers, f.tuning.ttl)) })
}

// killAmid kills a worker in the middle of a batch.
func killAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	m := f.pick(numbers)
	if err := m.amid.strike(ctx, natstest.Sever, func() { f.kill(m) }); err != nil {
		return err
	}
	after(ctx, upTo(numbers, 2*f.tuning.ttl))
	f.restart(m)
	return nil
}

// breakAmid breaks a worker's connection in the middle of a batch.
func breakAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	return f.pick(numbers).amid.strike(ctx, natstest.Sever, func() {})
}

// loseAmid loses one message in the middle of a batch, as a server does that has no room
// for what comes in.
func loseAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	return f.pick(numbers).amid.strike(ctx, natstest.Swallow, func() {})
}
