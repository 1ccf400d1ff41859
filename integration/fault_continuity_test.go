package integration_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
)

const broken = "updates stream is not the one known"

// TestFaultContinuity breaks the streams between two halves of a load, while the
// worker runs and while it is down. A reader who keeps the highest (epoch,
// sequence) of each user gets both halves, each update once.
func TestFaultContinuity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(b *breakage)
		notice string // logged once by the worker that goes on
		again  bool   // whether readers may be given again what they have
		up     bool   // whether only a worker that runs can notice it
	}{
		{name: "updates made again", damage: (*breakage).remakeUpdates, notice: broken},
		{name: "updates made again, longer than before", damage: (*breakage).remakeUpdatesLonger, notice: broken},
		{name: "updates restored from a backup", damage: (*breakage).restoreUpdates, notice: broken},
		{name: "both streams restored from a backup", damage: (*breakage).restoreBoth, again: true, notice: broken, up: true},
		{name: "deliveries purged", damage: (*breakage).purgeDeliveries, again: true},
		{name: "deliveries made again", damage: (*breakage).remakeDeliveries, again: true},
	}
	for _, tt := range tests {
		for _, up := range []bool{true, false} {
			if tt.up && !up {
				continue
			}
			t.Run(tt.name+map[bool]string{true: "/running", false: "/down"}[up], func(t *testing.T) {
				t.Parallel()
				b := newBreakage(t)
				b.around(up, tt.damage)
				b.verify(tt.again)
				if tt.notice != "" {
					b.worker.wantLines(1, tt.notice)
				}
				b.worker.wantAtMost(60)
			})
		}
	}
}

// breakage is a deployment whose streams get damaged.
type breakage struct {
	*deployment

	store     string // directory of the server
	load      *load
	worker    *workerProcess
	published []integration.Update
	seen      collected // by a reader, before the damage and after it
}

// newBreakage publishes updates, takes a backup, publishes more and has a reader
// take everything.
func newBreakage(t *testing.T) *breakage {
	t.Helper()
	b := &breakage{load: newLoad(newEffort(t).numbers(t), 200, 3), store: filepath.Join(t.TempDir(), "store")}
	server := natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer, StoreDir: b.store})
	b.deployment = deployOn(t, server, b.load)
	b.worker = b.startReady()
	b.publishMore(400)
	b.awaitCommitted()
	b.backUp()
	b.publishMore(400)
	b.awaitCommitted()
	b.seen = b.collect(0)
	return b
}

// around does the damage, while the worker runs or between two, then publishes
// more.
func (b *breakage) around(up bool, damage func(*breakage)) {
	b.t.Helper()
	if !up {
		b.worker.terminate(syscall.SIGTERM)
	}
	damage(b)
	if up {
		b.awaitCaughtUp()
	}
	b.publishMore(400)
	if !up {
		b.worker = b.startReady()
	}
	b.awaitCommitted()
	b.publishMore(100)
	b.awaitCommitted()
	b.worker.terminate(syscall.SIGTERM)
}

// awaitCaughtUp waits until the worker has a consumer for every partition again.
func (b *breakage) awaitCaughtUp() {
	b.t.Helper()
	b.eventually("consumers", func(ctx context.Context) error {
		s, err := b.js.Stream(ctx, b.subjects.UpdatesStream())
		if err == nil && s.CachedInfo().State.Consumers < partitions {
			err = context.DeadlineExceeded
		}
		return err
	})
}

func (b *breakage) publishMore(n int) {
	b.t.Helper()
	updates := b.load.updates(n)
	b.publish(updates)
	b.published = append(b.published, updates...)
}

// verify adds what came since to what the reader saw, and checks all of it.
func (b *breakage) verify(again bool) {
	b.t.Helper()
	b.seen.then(b.collect(b.seen.last))
	verdict := b.seen.verify(b.t, integration.CheckAsReader, b.published)
	if verdict.Dropped > 0 && !again {
		b.t.Errorf("a reader was given %d states again", verdict.Dropped)
	}
}

func (b *breakage) remakeUpdates() { b.remake(b.subjects.UpdatesStream()) }

// remakeUpdatesLonger fills the new stream beyond the sequences of the old one
// before the worker may look at it.
func (b *breakage) remakeUpdatesLonger() {
	b.t.Helper()
	b.worker.signal(syscall.SIGSTOP)
	b.remake(b.subjects.UpdatesStream())
	b.publishMore(1_000)
	b.worker.signal(syscall.SIGCONT)
}

func (b *breakage) remakeDeliveries() {
	b.t.Helper()
	b.remake(b.subjects.DeliveriesStream())
	b.seen.last = 0
}

// remake deletes a stream and makes it again as it was.
func (b *breakage) remake(name string) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), name)
	if err != nil {
		b.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	if err := b.js.DeleteStream(b.t.Context(), name); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.js.CreateStream(b.t.Context(), config); err != nil {
		b.t.Fatal(err)
	}
}

func (b *breakage) purgeDeliveries() {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), b.subjects.DeliveriesStream())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Purge(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// backUp copies the store of the server, which is stopped for it.
func (b *breakage) backUp() {
	b.t.Helper()
	b.offline(func() { b.copyStore("", b.store, b.backup()) })
}

func (b *breakage) backup() string { return b.store + ".backup" }

// offline does something while the server is stopped.
func (b *breakage) offline(do func()) {
	b.t.Helper()
	if err := b.server.Stop(); err != nil {
		b.t.Fatal(err)
	}
	do()
	if err := b.server.Start(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *breakage) restoreUpdates() {
	b.t.Helper()
	b.offline(func() { b.copyStore(b.subjects.UpdatesStream(), b.backup(), b.store) })
}

// restoreBoth is also what a power loss does to a server that had not synced.
func (b *breakage) restoreBoth() {
	b.t.Helper()
	before := b.seen.last
	b.offline(func() { b.copyStore("", b.backup(), b.store) })
	b.seen.last = b.lastSequence(b.subjects.DeliveriesStream())
	if b.seen.last >= before {
		b.t.Fatalf("deliveries went on from %d to %d over the restore", before, b.seen.last)
	}
}

// copyStore copies the store, or the directory of one stream in it.
func (b *breakage) copyStore(stream, from, to string) {
	b.t.Helper()
	inside := filepath.Join("jetstream", "$G", "streams", stream)
	if stream == "" {
		inside = ""
	}
	target := filepath.Join(to, inside)
	if err := os.RemoveAll(target); err != nil {
		b.t.Fatal(err)
	}
	if err := os.CopyFS(target, os.DirFS(filepath.Join(from, inside))); err != nil {
		b.t.Fatal(err)
	}
}

// TestFaultDeliveriesFull fills the deliveries stream up to its limit: the worker
// waits, says so without filling the log, and goes on as soon as there is room.
func TestFaultDeliveriesFull(t *testing.T) {
	t.Parallel()
	l := newLoad(newEffort(t).numbers(t), 200, 3)
	d := deploy(t, l, settings{"STREAMS_DELIVERIES_MAX_BYTES": "1MiB"})
	worker := d.startReady()
	published := l.updates(10_000)
	publishing := d.publishing(published, 0)
	worker.awaitLog("waiting, nothing is lost")
	<-publishing

	seen := d.collect(0)
	for done := false; !done; {
		s, err := d.js.Stream(t.Context(), d.subjects.DeliveriesStream())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(d.subjects.Deliveries()), jetstream.WithPurgeSequence(seen.last+1)); err != nil {
			t.Fatal(err)
		}
		<-time.After(poll)
		done = d.allCommitted()
		seen.then(d.collect(seen.last))
	}
	worker.terminate(syscall.SIGTERM)
	worker.wantAtMost(100)
	if lines, _ := worker.log.matching("waiting, nothing is lost"); !strings.Contains(lines[0], "raise streams.deliveries.max_bytes") {
		t.Errorf("the worker said %q, want the setting that helps", lines)
	}
	seen.verify(t, integration.Check, bySequence(published))
}

func (d *deployment) allCommitted() bool {
	for p := range partitions {
		if d.committed(d.t.Context(), d.subjects, p) != nil {
			return false
		}
	}
	return true
}
