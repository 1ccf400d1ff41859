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

// errNoBatch says that no worker sent a batch that could be struck.
var errNoBatch = errors.New("no batch is sent")

// batchTimeout is for how long one worker is waited for, which may have no share or
// have left.
const batchTimeout = 5 * time.Second

// strikeAmid waits until a worker is amid a batch, has meanwhile happen then, and lets
// it go on. It returns the worker.
func strikeAmid(ctx context.Context, f *fleet, numbers *rand.Rand, verdict natstest.Verdict, meanwhile func(*member)) (*member, error) {
	for end := time.Now().Add(fleetTimeout); time.Now().Before(end); {
		m := f.pick(numbers)
		if struck, err := m.amid.strike(ctx, verdict, func() { meanwhile(m) }); struck || err != nil {
			return m, err
		}
	}
	return nil, errNoBatch
}

// strike reports whether the worker was amid a batch within batchTimeout.
func (a *amid) strike(ctx context.Context, verdict natstest.Verdict, meanwhile func()) (bool, error) {
	b := &blow{verdict: verdict, reached: make(chan struct{}), goOn: make(chan struct{})}
	defer close(b.goOn)
	a.arm(b)
	defer a.arm(nil)
	select {
	case <-b.reached:
		meanwhile()
		return true, nil
	case <-time.After(batchTimeout):
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
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
	_, err := strikeAmid(ctx, f, numbers, natstest.Pass, func(*member) { after(ctx, 2*f.tuning.ttl+upTo(numbers, f.tuning.ttl)) })
	return err
}

// killAmid kills a worker in the middle of a batch.
func killAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	m, err := strikeAmid(ctx, f, numbers, natstest.Sever, f.kill)
	if err != nil {
		return err
	}
	after(ctx, upTo(numbers, 2*f.tuning.ttl))
	f.restart(m)
	return nil
}

// breakAmid breaks a worker's connection in the middle of a batch.
func breakAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	_, err := strikeAmid(ctx, f, numbers, natstest.Sever, func(*member) {})
	return err
}

// loseAmid loses one message in the middle of a batch, as a server does that has no room
// for what comes in.
func loseAmid(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	_, err := strikeAmid(ctx, f, numbers, natstest.Swallow, func(*member) {})
	return err
}
