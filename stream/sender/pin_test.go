package sender_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/stream/sender"
)

// pinConfig has pins lapse soon.
func pinConfig() sender.Config {
	c := config()
	c.AckWait = 2 * time.Second
	return c
}

func TestFullSenderKeepsItsPin(t *testing.T) {
	t.Parallel()
	s, first, second := newSite(t), newServers(), newServers()
	c := pinConfig()
	c.MaxBytes = 1 << 20
	release := first.holdsUp()
	one := s.run(t, c, first.send)
	long := strings.Repeat("x", 60_000)
	for i := range 80 {
		s.commit(t, eva, of(i, `"state":"online","status_msg":"`+long+`"`))
	}
	eventually(t, "bound that is reached", func() bool { return one.Ready() != nil })
	held := one.measured(t, "presence_router_sender_held_deliveries", "")
	s.run(t, c, second.send)
	select {
	case b := <-second.tried:
		t.Errorf("the sender that waits sends to %s, want nothing while the other one lives", b.Destination)
	case <-time.After(2 * c.AckWait):
	}
	if now := one.measured(t, "presence_router_sender_held_deliveries", ""); now != held {
		t.Errorf("%d deliveries are held, want %d as before: there is room for no more", now, held)
	}
	release()
	wantUsers(t, first, 80)
	s.awaitDone(t)
}

func TestSenderThatIsCutOffSendsNoMore(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(context.Context, sender.Batch) error{
		"refused": refuse, "unreachable": unreachable, "under way": func(ctx context.Context, _ sender.Batch) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, first, second := newSite(t), newServers(), newServers()
			var cut, newer, late atomic.Bool
			first.answers(func(ctx context.Context, b sender.Batch) error {
				err := answer(ctx, b)
				if newer.Load() {
					late.Store(true)
				}
				return err
			})
			second.answers(func(_ context.Context, b sender.Batch) error {
				newer.Store(show(b) == one("somewhere.org", entry("newer")))
				return nil
			})
			swallow := func(frame []byte) ([]byte, natstest.Verdict) {
				if cut.Load() {
					return frame, natstest.Swallow
				}
				return frame, natstest.Pass
			}
			proxy := &natstest.Proxy{FromClient: swallow, FromServer: swallow}
			made, err := sender.New(natstest.Connect(t, proxy.Start(t, s.server.URL())), pinConfig(), first.send)
			if err != nil {
				t.Fatal(err)
			}
			begin(t, made)
			s.commit(t, eva, says(1, "older"))
			await(t, first.tried, "try")
			cut.Store(true)
			s.run(t, pinConfig(), second.send)
			s.commit(t, eva, says(2, "newer"))
			eventually(t, "newer state", func() bool { return show(second.next(t)) == one("somewhere.org", entry("newer")) })
			time.Sleep(300 * time.Millisecond) //nolint:forbidigo // That nothing happens has no event.
			if late.Load() {
				t.Error("the sender that was cut off tried after the newer state was sent")
			}
			cut.Store(false)
			s.awaitDone(t)
			second.wantNone(t)
			first.wantNone(t)
		})
	}
}

func TestSenderThatLosesItsPinForgets(t *testing.T) {
	t.Parallel()
	s, first, second := newSite(t), newServers(), newServers()
	first.answers(refuse)
	one := s.run(t, pinConfig(), first.send)
	s.commit(t, eva, says(1, "older"))
	await(t, first.tried, "try")
	s.run(t, pinConfig(), second.send)
	s.awaitWaiting(t, 2)
	s.unpin(t)
	s.commit(t, eva, says(2, "newer"))
	wantBatch(t, second.next(t), entry("newer"))
	one.awaitHeld(t, 0)
	s.awaitDone(t)
	second.wantNone(t)
	first.wantNone(t)
	one.log.awaitWarning(t, "another sender may read, leaving to it what is not sent")
}

// A sender that hears that its pin was taken away sends nothing more, however long the pin
// would have counted.
func TestSenderForgetsAsSoonAsItHears(t *testing.T) {
	t.Parallel()
	s, first, second := newSite(t), newServers(), newServers()
	first.answers(refuse)
	c := config()
	c.AckWait = time.Hour
	one := s.run(t, c, first.send)
	s.commit(t, eva, says(1, "older"))
	await(t, first.tried, "try")
	s.run(t, c, second.send)
	s.awaitWaiting(t, 2)
	s.unpin(t)
	s.commit(t, eva, says(2, "newer"))
	wantBatch(t, second.next(t), entry("newer"))
	one.awaitHeld(t, 0)
	first.wantNone(t)
}

// A sender that loses its pin stops what is on its way, and hands nothing more over to that
// destination before that has ended, even if it is soon the one that sends again.
func TestLostPinStopsWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	stopped, ended := make(chan struct{}), make(chan struct{})
	far.answers(func(ctx context.Context, b sender.Batch) error {
		if show(b) != one("somewhere.org", entry("older")) {
			return nil
		}
		<-ctx.Done()
		close(stopped)
		<-ended
		return ctx.Err()
	})
	c := config()
	c.AckWait = time.Hour // It hears of the loss.
	made := s.run(t, c, far.send)
	s.commit(t, eva, says(1, "older"))
	await(t, far.tried, "try")
	end := sync.OnceFunc(func() { close(ended) })
	t.Cleanup(end)
	another := newServers()
	another.answers(refuse)
	second := s.run(t, c, another.send)
	s.awaitWaiting(t, 2)
	s.unpin(t)
	s.commit(t, eva, says(2, "newer"))
	await(t, stopped, "stop of what is on its way")
	await(t, another.tried, "try of the sender that reads then")
	second.stop() // It gives back what it could not send.
	made.awaitHeld(t, 1)
	s.commit(t, "@zoe:elsewhere.net", says(3, "newest"))
	if got, want := show(far.next(t)), one("elsewhere.net", entry("newest")); got != want {
		t.Errorf("sent is %s, want %s while another batch is on its way to somewhere.org", got, want)
	}
	end()
	wantBatch(t, far.next(t), entry("newer"))
	if far.mixed.Load() {
		t.Error("a batch was handed over while another one was on its way")
	}
}

// A sender is cut off while a batch is on its way that stands for two states, and has to take
// that as arrived or not: when both come again, only the newer one is sent.
func TestNothingOlderIsSentThanWhatMayHaveArrived(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	var cut, first atomic.Bool // first: of what comes, the first state alone
	proxy := &natstest.Proxy{
		FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
			if cut.Load() {
				return frame, natstest.Swallow
			}
			return frame, natstest.Pass
		},
		FromServer: func(frame []byte) ([]byte, natstest.Verdict) {
			if cut.Load() || first.Load() && bytes.Contains(frame, []byte("second")) {
				return frame, natstest.Swallow
			}
			return frame, natstest.Pass
		},
	}
	made := runAt(t, proxy.Start(t, s.server.URL()), pinConfig(), far.send, time.Now)
	s.commit(t, eva, says(1, "first"))
	s.commit(t, eva, says(2, "second"))
	made.awaitHeld(t, 2)
	underWay, stopped := make(chan struct{}), make(chan struct{})
	var once sync.Once
	far.answers(func(ctx context.Context, _ sender.Batch) error {
		once.Do(func() {
			close(underWay)
			<-ctx.Done()
			close(stopped)
		})
		return errRefused
	})
	await(t, underWay, "try")
	cut.Store(true)
	await(t, stopped, "stop of what is on its way")
	far.takes()
	first.Store(true)
	cut.Store(false)
	eventually(t, "acknowledgement of the first state", func() bool { return s.acknowledged(t) == 1 })
	far.wantNone(t)
	first.Store(false)
	wantBatch(t, far.next(t), entry("second"))
	s.awaitDone(t)
	far.wantNone(t)
}

// unpin has the consumer forget which sender reads.
func (s *site) unpin(t *testing.T) {
	t.Helper()
	stream, err := s.js.Stream(t.Context(), s.subjects.DeliveriesStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.UnpinConsumer(t.Context(), "federate", "sender"); err != nil {
		t.Fatal(err)
	}
}

// awaitWaiting waits until n senders ask for more.
func (s *site) awaitWaiting(t *testing.T, n int) {
	t.Helper()
	eventually(t, "senders that ask", func() bool { return s.consumer(t).NumWaiting == n })
}

// The server counts from what it was asked, which it may answer late.
func TestPinCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	const ttl = time.Minute
	asked := time.Now().Add(-10 * time.Second)
	if got, want := sender.PinnedUntil(ttl, asked), asked.Add(ttl); !got.Equal(want) {
		t.Errorf("the pin counts until %v, want %v: %v after it was asked for", got, want, ttl)
	}
}
