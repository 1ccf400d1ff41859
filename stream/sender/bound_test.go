package sender_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/internal/natsserver"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
	"github.com/presence-router/presence-router/stream/wire"
)

// of is a state of a user with a number.
func of(user int, fields string) presence.UserState {
	return state(fmt.Sprintf("@user%d:example.com", user), uint64(user+1), fields) //nolint:gosec // A small number.
}

func TestBoundOnStatesLosesNothing(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	c := config()
	c.MaxStates = 10
	made := s.run(t, c, far.send)
	for i := range 50 {
		s.commit(t, eva, of(i, `"state":"online"`))
	}
	made.awaitHeld(t, 10)
	eventually(t, "holding of 10 deliveries, with 40 left to the server", func() bool {
		pending, undelivered := s.unacknowledged(t)
		return pending == 10 && undelivered == 40
	})
	if err := made.Ready(); err == nil || !strings.Contains(err.Error(), "holding as much as configured") {
		t.Errorf("Ready() = %v, want that it is full", err)
	}
	release()
	wantUsers(t, far, 50)
	s.awaitDone(t)
	eventually(t, "readiness", func() bool { return made.Ready() == nil })
}

func TestBoundOnBytesLosesNothing(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	release := far.holdsUp()
	c := config()
	c.MaxBytes = 1 << 20
	made := s.run(t, c, far.send)
	long := strings.Repeat("x", 60_000)
	for i := range 80 {
		s.commit(t, eva, of(i, `"state":"online","status_msg":"`+long+`"`))
	}
	eventually(t, "bound that is reached", func() bool { return made.Ready() != nil })
	held := made.measured(t, "presence_router_sender_held_deliveries", "")
	if held < 17 || held > 60 { // 1 MiB, and what was asked for before it was reached
		t.Errorf("%d deliveries of 60 kB are held, want about 1 MiB", held)
	}
	release()
	wantUsers(t, far, 80)
	s.awaitDone(t)
}

func TestDestinationThatFailsLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		bound    func(c *sender.Config)
		dead     func(i int) presence.UserState // for the destination that fails
		want     int                            // users of those
		deferred bool                           // some of them are left to the server
	}{
		{"users", func(c *sender.Config) { c.MaxStates = 10 }, func(i int) presence.UserState { return of(i, `"state":"online"`) }, 50, true},
		{"updates of one user", func(c *sender.Config) { c.MaxStates = 10 }, func(i int) presence.UserState {
			return says(uint64(i+1), strconv.Itoa(i)) //nolint:gosec // A small number.
		}, 1, false},
		{"bytes", func(c *sender.Config) { c.MaxBytes = 1 << 20 }, func(i int) presence.UserState {
			return of(i, `"state":"online","status_msg":"`+strings.Repeat("x", 60_000)+`"`)
		}, 50, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, far := newSite(t), newServers()
			far.answers(func(_ context.Context, b sender.Batch) error {
				if b.Destination.String() == "somewhere.org" {
					return &sender.Unsent{Err: errRefused}
				}
				return nil
			})
			c := config()
			tt.bound(&c)
			c.AckWait = time.Second
			made := s.run(t, c, far.send)
			for i := range 50 {
				s.commit(t, eva, tt.dead(i))
			}
			for i := range 50 {
				s.commit(t, "@zoe:elsewhere.net", of(i, `"state":"online"`))
			}
			wantUsers(t, far, 50)
			left := func() bool { return made.measured(t, "presence_router_sender_states", "deferred") > 0 }
			if tt.deferred {
				eventually(t, "state that is left to the server", left) // For a moment, none may be: they come again.
			} else if left() {
				t.Error("states are left to the server, want none")
			}
			far.takes()
			wantUsers(t, far, tt.want)
			s.awaitDone(t)
			made.awaitHeld(t, 0)
		})
	}
}

// wantUsers waits for the states of n users, each once.
func wantUsers(t *testing.T, far *servers, n int) {
	t.Helper()
	var got []string
	for len(got) < n {
		got = append(got, users(t, far.next(t))...)
	}
	slices.Sort(got)
	if unique := slices.Compact(slices.Clone(got)); len(got) != n || len(unique) != n {
		t.Errorf("sent are states of %v, want %d users, each once", got, n)
	}
}

func TestOldStatesAreGivenUpExceptLastOfflineOnes(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(unreachable)
	now := &clock{ms: time.Now().UnixMilli()}
	c := config()
	c.AckWait = 2 * time.Second // which sweeps twice a second
	made := s.runWith(t, c, far.send, now.now)
	s.commit(t, eva, of(0, `"state":"online"`), of(1, `"state":"offline"`), of(2, `"state":"offline"`))
	s.commit(t, eva, state("@user2:example.com", 9, `"state":"online"`))
	made.awaitHeld(t, 2)
	now.set(time.Now().Add(c.TTL + time.Minute).UnixMilli())
	eventually(t, "old states that are given up", func() bool {
		return made.measured(t, "presence_router_sender_states", "stale") == 2
	})
	made.awaitHeld(t, 1)
	far.takes()
	if got := users(t, far.next(t)); !slices.Equal(got, []string{"@user1:example.com"}) {
		t.Errorf("sent are states of %v, want the one who went offline", got)
	}
	s.awaitDone(t)
}

func TestOfflineStatesAreGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse) // so that a batch is kept
	now := &clock{ms: time.Now().UnixMilli()}
	c := config()
	made := s.runWith(t, c, far.send, now.now)
	s.commit(t, eva, of(0, `"state":"online"`), of(1, `"state":"offline"`))
	await(t, far.tried, "try")
	now.set(time.Now().Add(c.OfflineTTL + time.Minute).UnixMilli())
	s.awaitDone(t)
	made.awaitHeld(t, 0)
	far.wantNone(t)
}

func TestBatchThatIsRefusedForTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	far.answers(refuse)
	now := &clock{ms: time.Now().UnixMilli()}
	c := config()
	made := s.runWith(t, c, far.send, now.now)
	s.commit(t, eva, of(0, `"state":"online"`), of(1, `"state":"offline"`))
	first := await(t, far.tried, "try")
	made.awaitHeld(t, 1)
	now.set(time.Now().Add(c.TTL + time.Minute).UnixMilli())
	eventually(t, "another batch", func() bool { return await(t, far.tried, "try").ID != first.ID })
	far.takes()
	if got := users(t, far.next(t)); !slices.Equal(got, []string{"@user1:example.com"}) {
		t.Errorf("sent are states of %v, want the one who went offline", got)
	}
	s.awaitDone(t)
}

func TestRetryTimeIsHonoured(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	const after = 300 * time.Millisecond
	refused := make(chan time.Time, 1)
	far.answers(func(_ context.Context, _ sender.Batch) error {
		far.takes()
		refused <- time.Now()
		return fmt.Errorf("send: %w", &sender.RetryAfter{After: after, Err: errRefused})
	})
	s.run(t, config(), far.send)
	s.commit(t, eva, says(1, "first"))
	at := await(t, refused, "try")
	far.next(t)
	if waited := time.Since(at); waited < after {
		t.Errorf("tried again after %v, want %v or more", waited, after)
	}
}

func TestPausesGrowToTheLongestWithJitter(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	tries := make(chan time.Time, 1000)
	far.answers(func(context.Context, sender.Batch) error {
		tries <- time.Now()
		return errRefused
	})
	c := config()
	c.FirstRetry, c.LongestRetry = 10*time.Millisecond, 50*time.Millisecond
	s.run(t, c, far.send)
	s.commit(t, eva, says(1, "first"))
	var pauses []time.Duration
	for last := await(t, tries, "try"); len(pauses) < 34; {
		next := await(t, tries, "try")
		pauses, last = append(pauses, next.Sub(last)), next
	}
	const growing = 4 // pauses before the longest
	if least := slices.Min(pauses[:growing]); least < c.FirstRetry/2 {
		t.Errorf("a pause is %v, want half of %v or more", least, c.FirstRetry)
	}
	if least := slices.Min(pauses[growing:]); least < c.LongestRetry/2 || least >= c.LongestRetry {
		t.Errorf("the shortest of the long pauses is %v, want half of %v or more, and less than that", least, c.LongestRetry)
	}
}

func TestOneBatchPerDestinationIsUnderWay(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	blocked := make(chan struct{})
	far.answers(func(_ context.Context, b sender.Batch) error {
		if b.Destination.String() == "somewhere.org" {
			<-blocked
		}
		return nil
	})
	made := s.run(t, config(), far.send)
	for i := range 5 {
		s.commit(t, eva, of(i, `"state":"online"`))
		s.commit(t, "@zoe:elsewhere.net", of(i, `"state":"online"`))
	}
	var got []string
	for len(got) < 5 {
		b := far.next(t)
		got = append(got, users(t, b)...)
		if b.Destination.String() != "elsewhere.net" {
			t.Errorf("sent is %s, want batches for elsewhere.net alone", show(b))
		}
	}
	made.awaitHeld(t, 5)
	close(blocked)
	wantUsers(t, far, 5)
	if far.mixed.Load() {
		t.Error("two batches were under way to one server at once")
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	blocked := make(chan struct{})
	far.answers(func(context.Context, sender.Batch) error {
		<-blocked
		return nil
	})
	c := config()
	c.Concurrency = 2
	made := s.run(t, c, far.send)
	for i := range 6 {
		s.commit(t, fmt.Sprintf("@eva:server%d.org", i), says(1, "first"))
	}
	made.awaitHeld(t, 6)
	await(t, far.tried, "try")
	await(t, far.tried, "try")
	select {
	case b := <-far.tried:
		t.Errorf("a third batch is under way: %s", show(b))
	default:
	}
	close(blocked)
	for range 6 {
		far.next(t)
	}
}

func TestWhatCannotBeSentIsPassedOver(t *testing.T) {
	t.Parallel()
	s, far := newSite(t), newServers()
	made := s.run(t, config(), far.send)
	subject := s.subjects.Delivery(wire.Remote, 0, presence.MustUserID(eva))
	s.publish(t, &nats.Msg{Subject: subject, Data: []byte(`{"recipient":`)})
	s.commit(t, eva, state("@carol:other.net", 1, `"state":"online"`)) // no user of an origin
	s.commit(t, eva, of(0, `"state":"`+strings.Repeat("a.", 600)+`"`))
	s.commit(t, eva, says(2, "second"))
	wantBatch(t, far.next(t), entry("second"))
	s.awaitDone(t)
	if got := made.measured(t, "presence_router_sender_states", "unsendable"); got != 2 {
		t.Errorf("%d states are counted as unsendable, want 2", got)
	}
	if got := made.measured(t, "presence_router_sender_malformed_deliveries", ""); got != 1 {
		t.Errorf("%d messages are counted as malformed, want 1", got)
	}
	made.log.awaitWarning(t, "passing over messages that are no deliveries")
}

func TestManyStatesMakeSeveralEDUs(t *testing.T) {
	t.Parallel()
	s, far := newSite(t, func(o *natsserver.Options) { o.MaxPayload = 4 << 20 }), newServers()
	c := config()
	c.MaxEDUs = 3
	s.run(t, c, far.send)
	var many, large, full []presence.UserState
	for i := range 170 {
		many = append(many, of(i, `"state":"online"`))
	}
	for i := range 5 {
		large = append(large, of(i, `"state":"online","status_msg":"`+strings.Repeat(`\u0001☕`, 3_000)+`"`)) // 27 kB
	}
	large = append(large, of(5, `"state":"online","status_msg":"`+strings.Repeat("\u2028", 21_000)+`"`)) // shortened, to fit at all
	for i := range 50 {
		full = append(full, of(i, `"state":"online","status_msg":"`+strings.Repeat("x", 1300)+`"`)) // 46 of them nearly fill an EDU
	}
	s.commit(t, eva, many...)
	s.commit(t, "@zoe:elsewhere.net", large...)
	s.commit(t, "@max:full.net", full...)
	for range 4 {
		switch b := far.next(t); {
		case b.Destination.String() == "elsewhere.net":
			wantSizes(t, b, 2, 2, 2)
		case b.Destination.String() == "full.net":
			wantSizes(t, b, 46, 4)
		case len(b.Contents) == 3:
			wantSizes(t, b, 50, 50, 50)
		default:
			wantSizes(t, b, 20)
		}
	}
}

// wantSizes fails the test where b is not EDUs of so many entries.
func wantSizes(t *testing.T, b sender.Batch, want ...int) {
	t.Helper()
	var got []int
	states := 0
	for _, content := range b.Contents {
		if size := len(`{"content":,"edu_type":"m.presence"}`) + len(content); size > 64<<10 {
			t.Errorf("EDU has %d bytes, want 64 KiB at most", size)
		}
		n := len(users(t, sender.Batch{Contents: b.Contents[len(got) : len(got)+1]}))
		got = append(got, n)
		states += n
	}
	if !slices.Equal(got, want) || b.States != states {
		t.Errorf("batch to %s has EDUs of %v entries and %d states, want %v", b.Destination, got, b.States, want)
	}
}
