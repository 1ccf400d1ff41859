package integration_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/integration"
	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/wire"
)

// publisherOnly lets the user hs publish the updates of one server and nothing else.
// Everybody who does not log in may do everything.
const publisherOnly = `
authorization {
  users: [
    {user: router, password: router}
    {user: hs, password: hs, permissions: {publish: ["presence.update.example%2Ecom.*"], subscribe: ["_INBOX.>"]}}
  ]
}
no_auth_user: router
`

// TestFaultForged has a publisher, who may do nothing but publish updates, choose where
// the server stores its acknowledgements: in place of checkpoints and of the layout
// record, and among deliveries, dead letters and heartbeats.
func TestFaultForged(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), 500, 3)
	d := deployOn(t, natstest.StartProcess(t, natstest.ProcessOptions{Binary: binaries.natsServer, Config: publisherOnly}), l)
	first := d.startReady()
	checkpoints := d.watch(ignore)
	published := l.updates(e.count(4_000, 20_000))
	d.publish(published[:100])
	stop := d.forging(&published[0], 5*time.Millisecond)
	publishing := d.publishing(published[100:], e.window(4*time.Second, 10))
	second := d.start()
	<-randomMoment(l.numbers, time.Second, 1)
	first.terminate(syscall.SIGTERM)
	for _, command := range [][]string{{"status"}, {"topology", "repair", "--yes"}} {
		d.command(command...).awaitExit(0)
	}
	<-publishing
	stop()
	d.awaitCommitted()
	second.awaitReady()
	second.terminate(syscall.SIGTERM)
	for _, w := range []*workerProcess{first, second} { // A worker whose heartbeat is replaced may lose partitions to one that starts.
		w.wantLines(0, "level=ERROR")
	}

	c := d.collect(0)
	if c.attacked = true; c.forged == 0 {
		t.Error("no acknowledgement is stored among the deliveries: nothing was attacked")
	}
	c.Checkpoints = checkpoints()
	c.verify(t, integration.Check, published)
}

// forging has the server store an acknowledgement somewhere again and again: that of
// an update that it has, so that the updates stay the same.
func (d *deployment) forging(known *integration.Update, every time.Duration) (stop func()) {
	d.t.Helper()
	hs := natstest.Connect(d.t, d.server.URL(), nats.UserInfo("hs", "hs"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	d.wantNoMore(hs)
	targets := d.forgeries()
	quit := make(chan struct{})
	var attacking sync.WaitGroup
	attacking.Go(func() {
		due := time.NewTicker(every)
		defer due.Stop()
		for n := 0; ; n++ {
			select {
			case <-due.C:
			case <-quit:
				return
			}
			_ = hs.PublishMsg(&nats.Msg{
				Subject: d.subjects.Update(known.User), Reply: targets[n%len(targets)], Data: known.JSON,
				Header: nats.Header{"Nats-Msg-Id": {fmt.Sprint("number-", known.Number)}},
			})
		}
	})
	return sync.OnceFunc(func() {
		close(quit)
		attacking.Wait()
	})
}

// forgeries returns the subjects to forge, those of checkpoints in between the others.
func (d *deployment) forgeries() []string {
	var targets []string
	for p := range partitions {
		targets = append(targets, d.subjects.Checkpoint(p))
	}
	return append(targets, d.subjects.LayoutRecord(), d.subjects.Heartbeat("w1"), d.subjects.Heartbeat("nobody"),
		d.subjects.Dead(wire.Malformed), "presence.deliver.local.0.example%2Ecom.reader0")
}

// wantNoMore checks that the attacker cannot publish what he has the server store.
func (d *deployment) wantNoMore(hs *nats.Conn) {
	d.t.Helper()
	if err := errors.Join(hs.Publish(d.subjects.Checkpoint(0), nil), hs.Flush()); err != nil {
		d.t.Fatal(err)
	}
	if err := hs.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
		d.t.Fatalf("publish to %s: %v, want %v", d.subjects.Checkpoint(0), err, nats.ErrPermissionViolation)
	}
}
