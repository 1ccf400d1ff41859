package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// poison is the mark of the update that some routers cannot bear.
const poison = 7

func holdsPoison(batch states) bool { return slices.Contains(marks(batch), poison) }

// besides returns the registrations of a router under test, and of one that works.
func besides(t *testing.T, policy routing.Policy, f func(context.Context, states) (answer, error)) []routing.Registration {
	t.Helper()
	return []routing.Registration{
		{Name: "picky", Router: routerOf(t, f), Timeout: eventTimeout, OnError: policy},
		{Name: "static", Router: toEach(t, alice), Timeout: eventTimeout},
	}
}

func toDave(batch states) answer {
	return everybody([]presence.UserID{presence.MustUserID("@dave:example.com")}, batch)
}

func TestPolicyOfRouterThatFails(t *testing.T) {
	t.Parallel()
	const all = "[1 2 3 4 5 6 7 8 9 10 11 12]"
	const butPoison = "[1 2 3 4 5 6 8 9 10 11 12]"
	tests := []struct {
		name    string
		policy  routing.Policy
		fail    func() (answer, error)
		dave    string // what the failing router's recipient received
		letters int
	}{
		{"skip panic", routing.Skip, func() (answer, error) { panic("spilled") }, butPoison, 0},
		{"skip error", routing.Skip, func() (answer, error) { return nil, errors.New("spilled") }, "[]", 0},
		{"dead letter for panic", routing.DeadLetter, func() (answer, error) { panic("spilled") }, butPoison, 1},
		{"dead letter for error", routing.DeadLetter, func() (answer, error) { return nil, errors.New("spilled") }, butPoison, 1},
		{"retry panic", routing.Retry, func() (answer, error) { panic("spilled") }, butPoison, 1},
		{"retry error", routing.Retry, func() (answer, error) { return nil, errors.New("spilled") }, butPoison, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			routers := besides(t, tt.policy, func(_ context.Context, batch states) (answer, error) {
				if holdsPoison(batch) {
					return tt.fail()
				}
				return toDave(batch), nil
			})
			s := routeAtOnce(t, slices.Repeat([]string{bob}, 12), routers, func(c *stream.Config) { c.Worker.RetryLimit = 200 * time.Millisecond })
			received := sequences(s.deliveries(t))
			if got := fmt.Sprint(received[alice]); got != all {
				t.Errorf("recipient of the router that works received %s, want %s", got, all)
			}
			if got := fmt.Sprint(received["@dave:example.com"]); got != tt.dave {
				t.Errorf("recipient of the router that fails received %s, want %s", got, tt.dave)
			}
			for _, kept := range s.awaitLetters(t, tt.letters) {
				l := kept.Letter
				if l.Reason != wire.RouterFailed || l.Router != "picky" || l.Sequence != poison || !strings.Contains(l.Error, "spilled") {
					t.Errorf("letter is %s by %s at %d: %s", l.Reason, l.Router, l.Sequence, l.Error)
				}
				if string(l.Payload) != update(bob, poison) {
					t.Errorf("letter holds %s, want the update", l.Payload)
				}
			}
		})
	}
}

func TestRetryUntilRouterWorks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var calls atomic.Int64
	const failures = 4
	w := s.startWith(t, besides(t, routing.Retry, func(_ context.Context, batch states) (answer, error) {
		if calls.Add(1) <= failures {
			return nil, errors.New("not yet")
		}
		return toDave(batch), nil
	}))
	s.awaitPosition(t, s.publishMany(t, 0, 5))
	w.stop(t)
	wantOnce(t, s.deliveries(t), 1, 5, alice, "@dave:example.com")
	s.awaitLetters(t, 0)
	w.log.want(t, 1, "waiting, nothing is lost", "routing updates", "router picky: not yet")
	w.log.want(t, 1, "going on", "routing updates", fmt.Sprintf("tries=%d", failures))
}

func TestRetryHoldsOnlyItsPartition(t *testing.T) {
	t.Parallel()
	const partitions = 4
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = partitions })
	var mended atomic.Bool
	other := otherPartition(t, partitions)
	w := s.startWith(t, besides(t, routing.Retry, func(_ context.Context, batch states) (answer, error) {
		if batch[0].UserID == presence.MustUserID(bob) && !mended.Load() {
			return nil, errors.New("not yet")
		}
		return toDave(batch), nil
	}))
	held := s.publish(t, bob, 1)
	w.log.await(t, "waiting, nothing is lost")
	free := s.publish(t, other, 2)
	s.awaitCheckpoint(t, wire.Partition(presence.MustUserID(other), partitions), func(c wire.Checkpoint) bool { return c.Sequence == free })
	if c, _ := s.checkpoint(t, wire.Partition(presence.MustUserID(bob), partitions)); c.Sequence != 0 {
		t.Errorf("position of the partition that waits is %d, want 0", c.Sequence)
	}
	mended.Store(true)
	s.awaitCheckpoint(t, wire.Partition(presence.MustUserID(bob), partitions), func(c wire.Checkpoint) bool { return c.Sequence == held })
	w.stop(t)
}

// otherPartition returns a user whose partition is not bob's.
func otherPartition(t *testing.T, partitions int) string {
	t.Helper()
	for i := range 1000 {
		other := fmt.Sprintf("@other%d:example.com", i)
		if wire.Partition(presence.MustUserID(other), partitions) != wire.Partition(presence.MustUserID(bob), partitions) {
			return other
		}
	}
	t.Fatal("no user of another partition")
	return ""
}

// A router that does not answer in time costs its policy's price for the whole
// batch at once: parts of it would take as long again.
func TestTimeoutIsNotAskedInParts(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	slow := routerOf(t, func(ctx context.Context, _ states) (answer, error) {
		calls.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	s := routeAtOnce(t, []string{bob, bob, bob}, []routing.Registration{
		{Name: "slow", Router: slow, Timeout: 50 * time.Millisecond, OnError: routing.DeadLetter},
		registration(toEach(t, alice)),
	})
	wantOnce(t, s.deliveries(t), 1, 3, alice)
	for _, kept := range s.awaitLetters(t, 3) {
		if kept.Letter.Router != "slow" {
			t.Errorf("letter names router %q, want slow", kept.Letter.Router)
		}
	}
	if got := calls.Swap(0); got != 1 {
		t.Errorf("the router was asked %d times, want once", got)
	}
}

// An update that is a dead letter already does not become another one.
func TestUndecodableUpdateIsOneDeadLetter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "{", nil)
	last := s.publish(t, bob, poison)
	w := s.startWith(t, besides(t, routing.DeadLetter, func(context.Context, states) (answer, error) {
		return nil, context.DeadlineExceeded
	}))
	s.awaitPosition(t, last)
	w.stop(t)
	var reasons []wire.Reason
	for _, kept := range s.awaitLetters(t, 2) {
		reasons = append(reasons, kept.Letter.Reason)
	}
	if want := []wire.Reason{wire.Malformed, wire.RouterFailed}; !slices.Equal(reasons, want) {
		t.Errorf("reasons are %v, want %v", reasons, want)
	}
}
