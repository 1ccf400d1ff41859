package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/stream/wire"
)

const (
	mostCut       = 20 << 10                     // bytes that a power loss takes
	updatesCut    = "power loss cuts updates"    // the nemesis that takes updates
	deliveriesCut = "power loss cuts deliveries" // and the one that takes deliveries
)

// cutDeliveries is a power loss: the server had acknowledged deliveries and checkpoints
// that were not on the disk yet. None of them may be missed.
func cutDeliveries(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	return f.losePower(ctx, f.subjects.DeliveriesStream(), numbers, func(kill func() error) error { return kill() })
}

// cutUpdates is a power loss that takes updates. Those that are gone may be missing.
func cutUpdates(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	return f.losePower(ctx, f.subjects.UpdatesStream(), numbers, func(kill func() error) error { return f.loses(loss{}, kill) })
}

// losePower kills the server of a stream, as note notes it, cuts the end off what it
// stored of it, and starts the server again.
func (f *fleet) losePower(ctx context.Context, stream string, numbers *rand.Rand, note func(kill func() error) error) error {
	server, err := f.cluster.Leader(ctx, f.js, stream)
	if err != nil {
		return err
	}
	f.cut = true
	if err := note(server.Kill); err != nil {
		return err
	}
	dir := filepath.Join(server.StoreDir(), "jetstream", "$G", "streams", stream, "msgs")
	if err := cutNewest(dir, 1+numbers.Int64N(mostCut)); err != nil {
		return err
	}
	after(ctx, upTo(numbers, time.Second))
	if err := server.Start(ctx); err != nil {
		return err
	}
	return f.awaitCurrent(ctx)
}

// cutNewest cuts some bytes off the end of the newest block of messages in a directory.
func cutNewest(dir string, bytes int64) error {
	blocks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
	if err != nil {
		return err
	}
	newest, number := "", 0
	for _, block := range blocks {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(block), ".blk"))
		if err == nil && n > number {
			newest, number = block, n
		}
	}
	if newest == "" {
		return fmt.Errorf("cut the newest block in %s: there is none", dir)
	}
	info, err := os.Stat(newest)
	if err != nil {
		return err
	}
	return os.Truncate(newest, max(0, info.Size()-bytes))
}

// fillDisk takes all room on the server's disk until the server cannot store. By which
// stream notices first, the server gives JetStream up, or each stream takes nothing
// more; neither ends before the server is restarted.
func fillDisk(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	f.switching.Lock()
	defer f.switching.Unlock()
	if err := f.awaitLogged(ctx, "no space left on device"); err != nil {
		return err
	}
	after(ctx, upTo(numbers, 3*time.Second))
	disabled, err := f.cluster.Servers[0].Logged("JetStream out of space, will be DISABLED")
	if err != nil {
		return err
	}
	if disabled {
		f.disabled++
	}
	if err := f.disk.Free(); err != nil {
		return err
	}
	signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[numbers.IntN(2)]
	return f.restartServer(ctx, f.cluster.Servers[0], signal, upTo(numbers, time.Second))
}

// awaitLogged fills the disk, and what becomes free of it, until the server has logged
// text.
func (f *fleet) awaitLogged(ctx context.Context, text string) error {
	err := retry(ctx, fleetTimeout, func(context.Context) error {
		if err := f.disk.Fill(); err != nil {
			return err
		}
		logged, err := f.cluster.Servers[0].Logged(text)
		if err == nil && !logged {
			err = fmt.Errorf("the server has not logged %q", text)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}

// purgeUpdates has somebody purge the updates stream up to somewhere near its end:
// those that were not read yet may be missing.
func purgeUpdates(ctx context.Context, f *fleet, numbers *rand.Rand) error {
	const times, mostKept = 3, 60
	for range times {
		after(ctx, upTo(numbers, time.Second))
		if err := retry(ctx, fleetTimeout, func(ctx context.Context) error {
			s, err := f.js.Stream(ctx, f.subjects.UpdatesStream())
			if err != nil {
				return err
			}
			before := max(1, s.CachedInfo().State.LastSeq-min(s.CachedInfo().State.LastSeq, numbers.Uint64N(mostKept)))
			done, err := f.done(ctx)
			if err != nil {
				return err
			}
			return f.loses(loss{before: before, done: done}, func() error {
				return s.Purge(ctx, jetstream.WithPurgeSequence(before))
			})
		}); err != nil {
			return fmt.Errorf("purge updates: %w", err)
		}
	}
	return nil
}

// done returns up to which time of storing the updates of each partition are committed,
// zero times while the layout changes.
func (f *fleet) done(ctx context.Context) ([]time.Time, error) {
	layout, err := f.layout(ctx)
	if err != nil {
		return nil, err
	}
	done := make([]time.Time, layout.Partitions)
	for p := range done {
		m, err := f.lastMessage(ctx, f.subjects.DeliveriesStream(), f.subjects.In(layout.Generation).Checkpoint(p))
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		c, err := wire.DecodeCheckpoint(m.Data)
		if err != nil {
			return nil, err
		}
		done[p] = c.Time
	}
	return done, nil
}
