package sender_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
)

// lastSeen is a state of bob that was last active at a time, in ms.
func lastSeen(sequence uint64, at int64) presence.UserState {
	return state(bob, sequence, fmt.Sprintf(`"state":"online","last_active_ts":%d,"status_msg":"%d"`, at, sequence))
}

func TestSixUpdatesOfAnOutageAreOneEntryOfTheRightAge(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	began := time.Now().UnixMilli()
	made, clock := fixedClock(t, s, far, began)
	for i := range 6 {
		s.commit(t, eva, lastSeen(uint64(i+1), began+int64(i)*1500))
		await(t, far.tried, "try")
	}
	made.awaitHeld(t, 6)
	clock.set(began + 9000)
	eventually(t, "try after the outage", func() bool { return await(t, far.tried, "try").Time.Equal(clock.now()) })
	far.takes() // No batch that was made before is under way any more.
	wantBatch(t, far.next(t), `{"currently_active":false,"last_active_ago":1500,"presence":"online","status_msg":"6","user_id":"@bob:example.com"}`)
	s.awaitDone(t)
	far.wantNone(t)
}

// clock is a time that stands still until it is set.
type clock struct {
	mu sync.Mutex
	ms int64
}

func (c *clock) set(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms = ms
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMilli(c.ms)
}

// fixedClock runs a sender whose clock stands at a time.
func fixedClock(t *testing.T, s *site, far *servers, ms int64) (*running, *clock) {
	t.Helper()
	c := &clock{ms: ms}
	return s.runWith(t, config(), far.send, c.now), c
}

func TestBatchThatMayHaveArrivedIsSentAgainUnchanged(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	first := await(t, far.tried, "try")
	s.commit(t, eva, says(2, "second"))
	s.commit(t, eva, says(3, "third"))
	made.awaitHeld(t, 3)
	s.awaitUnacknowledged(t, 3)
	far.takes()
	again := far.next(t)
	if again.ID != first.ID || show(again) != show(first) || !again.Time.Equal(first.Time) {
		t.Errorf("sent again is %s %s, want the same as before, %s %s", again.ID, show(again), first.ID, show(first))
	}
	second := far.next(t)
	wantBatch(t, second, entry("third"))
	if second.ID == first.ID {
		t.Errorf("both batches have the ID %s", first.ID)
	}
	s.awaitDone(t)
	far.wantNone(t)
}

// That a batch does not reach its destination says nothing of an earlier try.
func TestBatchThatMayHaveArrivedOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	first := await(t, far.tried, "try")
	s.commit(t, eva, says(2, "second"))
	made.awaitHeld(t, 2)
	var outage atomic.Int32
	far.answers(func(ctx context.Context, b sender.Batch) error {
		outage.Add(1)
		return unreachable(ctx, b)
	})
	eventually(t, "tries in the outage", func() bool { return outage.Load() > 2 })
	far.takes()
	if again := far.next(t); again.ID != first.ID || show(again) != show(first) {
		t.Errorf("sent after the outage is %s %s, want what may have arrived before, %s %s", again.ID, show(again), first.ID, show(first))
	}
	wantBatch(t, far.next(t), entry("second"))
	s.awaitDone(t)
}

func TestNothingIsAcknowledgedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := make(chan struct{})
	far.answers(func(ctx context.Context, _ sender.Batch) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	s.commit(t, "@joe:somewhere.org", says(1, "first")) // the batch under way stands for it as well
	made.awaitHeld(t, 2)
	s.awaitUnacknowledged(t, 2)
	close(release)
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
	made.awaitHeld(t, 0)
	far.wantNone(t)
}

func TestWhatADeadSenderHeldComesAgain(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	c := config()
	c.AckWait = time.Second
	nc := natstest.Connect(t, s.server.URL())
	made, err := sender.New(nc, c, far.send)
	if err != nil {
		t.Fatal(err)
	}
	stop := begin(t, made)
	s.commit(t, eva, says(1, "first"))
	s.commit(t, "@zoe:elsewhere.net", says(1, "first"))
	tried := map[string]bool{}
	for len(tried) < 2 {
		tried[await(t, far.tried, "try").Destination.String()] = true
	}
	s.commit(t, eva, says(2, "second"))
	nc.Close() // what it has to say to the server is lost, as when it is killed
	stop()
	after := newServers()
	s.run(t, c, after.send)
	got := map[string]string{}
	for len(got) < 2 || got["somewhere.org"] != one("somewhere.org", entry("second")) {
		b := after.next(t)
		got[b.Destination.String()] = show(b)
	}
	if want := one("elsewhere.net", entry("first")); got["elsewhere.net"] != want {
		t.Errorf("sent after the restart is %s, want %s", got["elsewhere.net"], want)
	}
	s.awaitDone(t)
}

func TestWhatIsHeldDoesNotComeAgain(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	c := config()
	c.AckWait = 4 * time.Second // a machine that is busy stands still for one
	s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	consumer, err := s.js.Consumer(t.Context(), s.subjects.DeliveriesStream(), "federate")
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 2*c.AckWait; await(t, far.tried, "try") {
		info, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.NumRedelivered > 0 {
			t.Fatal("what is held was delivered again")
		}
	}
}

func TestStoppedSenderGivesBackAtOnce(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	c := config()
	c.AckWait = time.Hour
	first := s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	first.stop()
	after := newServers()
	s.run(t, c, after.send)
	wantBatch(t, after.next(t), entry("first"))
}

func TestStopWaitsForBatchesUnderWay(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	time.AfterFunc(50*time.Millisecond, release)
	made.stop()
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
}

func TestStopEndsBatchesThatTakeTooLong(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(func(ctx context.Context, _ sender.Batch) error {
		<-ctx.Done()
		return ctx.Err()
	})
	c := config()
	c.StopTimeout = 100 * time.Millisecond
	made := s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	await(t, far.tried, "try")
	made.stop()
	far.wantNone(t)
	if lines := made.log.lines(t, "destination"); len(lines) > 0 {
		t.Errorf("logged is %+v, want no failure of the destination", lines)
	}
}

func TestSenderOutlivesServerAndConsumer(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	wantBatch(t, far.next(t), entry("first"))
	s.awaitDone(t)
	if err := s.js.DeleteConsumer(t.Context(), s.subjects.DeliveriesStream(), "federate"); err != nil {
		t.Fatal(err)
	}
	s.commit(t, eva, says(2, "second"))
	wantBatch(t, far.next(t), entry("second"))
	far.answers(unreachable) // so that something is held over the restart
	s.commit(t, eva, says(3, "third"))
	eventually(t, "try", func() bool { return show(await(t, far.tried, "try")) == one("somewhere.org", entry("third")) })
	s.server = natstest.Restart(t, s.server)
	eventually(t, "streams", func() bool { // in memory, they are gone
		return s.nc.IsConnected() && s.nc.FlushTimeout(time.Second) == nil
	})
	s.applyTopology(t)
	far.takes()
	wantBatch(t, far.next(t), entry("third"))
	s.commit(t, eva, says(4, "fourth"))
	wantBatch(t, far.next(t), entry("fourth"))
	eventually(t, "readiness", func() bool { return made.Ready() == nil })
	made.stop() // before the server does
}

// The stream is made again while a delivery is held: the first one of the new stream has
// its sequence, and is another one.
func TestStreamIsMadeAgainWhileADeliveryIsHeld(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	made := s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	made.awaitHeld(t, 1)
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeliveriesStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	s.commit(t, "@zoe:elsewhere.net", says(2, "second"))
	eventually(t, "try of the second delivery", func() bool {
		return show(await(t, far.tried, "try")) == one("elsewhere.net", entry("second"))
	})
	far.takes()
	sent := []string{show(far.next(t)), show(far.next(t))}
	slices.Sort(sent)
	if want := []string{one("elsewhere.net", entry("second")), one("somewhere.org", entry("first"))}; !slices.Equal(sent, want) {
		t.Errorf("sent is %q, want %q", sent, want)
	}
	s.awaitDone(t)
}

func TestRedeliveryAndReplay(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	made := s.run(t, config(), far.send)
	altered := says(5, "fifth")
	altered.StatusMsg = presence.Status("for joe")
	steps := []struct {
		name   string
		epoch  int64 // 0 for the first
		header nats.Header
		to     string
		state  presence.UserState
		want   string // nothing is sent where empty
	}{
		{name: "new", to: eva, state: says(5, "fifth"), want: "fifth"},
		{name: "older", to: eva, state: says(4, "fourth")},
		{name: "the same for another recipient", to: "@joe:somewhere.org", state: says(5, "fifth")},
		{name: "altered for another recipient", to: "@joe:somewhere.org", state: altered, want: "for joe"},
		{name: "older, asked for", header: nats.Header{"Presence-Replay": {"1"}}, to: eva, state: says(3, "third")},
		{name: "the same, asked for", header: nats.Header{"Presence-Replay": {"1"}}, to: eva, state: says(5, "fifth"), want: "fifth"},
		{name: "the same, asked for again", header: nats.Header{"Presence-Replay": {"1"}}, to: eva, state: says(5, "fifth"), want: "fifth"},
		{name: "made up by a router", to: eva, state: says(0, "made up"), want: "made up"},
		{name: "newer", to: eva, state: says(6, "sixth"), want: "sixth"},
		{name: "of the next epoch", epoch: 2, to: eva, state: says(2, "second"), want: "second"},
		{name: "of the epoch before", to: eva, state: says(7, "seventh")},
	}
	for _, step := range steps {
		s.commitIn(t, max(1, step.epoch), step.header, step.to, step.state)
		if step.want != "" {
			wantBatch(t, far.next(t), entry(step.want))
		}
		s.awaitDone(t)
		made.awaitHeld(t, 0)
		far.wantNone(t)
		if t.Failed() {
			t.Fatalf("step %q failed", step.name)
		}
	}
}
