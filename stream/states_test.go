package stream_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
)

// attempts bounds how often a test is done over because the scheduler was not kind.
const attempts = 50

// routeAtOnce stores an update of each of users, with the marks from 1, and routes
// them as one batch. A batch is what has arrived when it is taken: where that was
// not all, everything is done over on a new site.
func routeAtOnce(t *testing.T, users []string, routers []routing.Registration, changes ...func(*stream.Config)) *site {
	t.Helper()
	for range attempts {
		s := newSite(t, changes...)
		last := uint64(0)
		for i, user := range users {
			last = s.publish(t, user, i+1)
		}
		sizes := make(chan int, 1)
		watch := routing.Registration{Name: "watch", Timeout: eventTimeout, Router: routerOf(t, func(_ context.Context, batch states) (answer, error) {
			select {
			case sizes <- len(batch):
			default:
			}
			return nil, nil
		})}
		w := s.startWith(t, append([]routing.Registration{watch}, routers...))
		s.awaitPosition(t, last)
		w.stop(t)
		if await(t, sizes, "batch") == len(users) {
			return s
		}
	}
	t.Fatalf("the updates were not of one batch in %d attempts", attempts)
	return nil
}

// deliverAtOnce is routeAtOnce with one router.
func deliverAtOnce(t *testing.T, users []string, usersForStates func(context.Context, states) (answer, error), changes ...func(*stream.Config)) []delivery {
	t.Helper()
	return routeAtOnce(t, users, []routing.Registration{registration(routerOf(t, usersForStates))}, changes...).deliveries(t)
}

func TestMadeUpAndAlteredStates(t *testing.T) {
	t.Parallel()
	deliveries := deliverAtOnce(t, []string{bob, bob, bob}, func(_ context.Context, batch states) (answer, error) {
		if len(batch) < 3 {
			return nil, nil
		}
		altered := batch[1]
		altered.State, altered.StatusMsg = presence.Busy, presence.Status("altered")
		madeUp := presence.UserState{UserID: presence.MustUserID("@ghost:example.com"), State: presence.Online}
		return answer{presence.MustUserID(alice): {madeUp, altered, batch[0], batch[2]}}, nil
	})
	if len(deliveries) != 1 {
		t.Fatalf("%d deliveries, want 1", len(deliveries))
	}
	want := []string{
		update(bob, 1),
		`{"user_id":"@bob:example.com","state":"busy","last_active_ts":1002,"last_federation_update_ts":0,"last_user_sync_ts":0,"status_msg":"altered","currently_active":false}`,
		update(bob, 3),
		`{"user_id":"@ghost:example.com","state":"online","last_active_ts":0,"last_federation_update_ts":0,"last_user_sync_ts":0,"status_msg":null,"currently_active":false}`,
	}
	for i, raw := range deliveries[0].RawStates {
		if string(raw) != want[i] {
			t.Errorf("state %d is %s, want %s", i, raw, want[i])
		}
	}
	if got := fmt.Sprint(deliveries[0].Sequences); got != "[1 2 3 0]" {
		t.Errorf("sequences are %s, want [1 2 3 0]", got)
	}
	if got := deliveries[0].header.Get("Presence-Source"); got != "0/1-3" {
		t.Errorf("Presence-Source is %q, want 0/1-3", got)
	}
}

func TestCoalesceKeepsNewestPerUser(t *testing.T) {
	t.Parallel()
	tests := []struct {
		coalesce bool
		want     string
	}{
		{false, "[1 2 3 4 5]"},
		{true, "[4 5]"},
	}
	for _, tt := range tests {
		t.Run(strconv.FormatBool(tt.coalesce), func(t *testing.T) {
			t.Parallel()
			deliveries := deliverAtOnce(t, []string{bob, "@dave:example.com", bob, "@dave:example.com", bob},
				func(_ context.Context, batch states) (answer, error) {
					return answer{presence.MustUserID(alice): batch, presence.MustUserID("@erin:example.com"): batch[:1]}, nil
				},
				func(c *stream.Config) { c.Worker.Coalesce = tt.coalesce })
			received := sequences(deliveries)
			if got := fmt.Sprint(received[alice]); got != tt.want {
				t.Errorf("%s received %s, want %s", alice, got, tt.want)
			}
			if got := fmt.Sprint(received["@erin:example.com"]); got != "[1]" {
				t.Errorf("who gets one state received %s, want [1]", got)
			}
		})
	}
}

func TestRemoteStatesGoToLocalRecipientsOnly(t *testing.T) {
	t.Parallel()
	both := []presence.UserID{presence.MustUserID(alice), presence.MustUserID("@erin:elsewhere.org")}
	deliveries := deliverAtOnce(t, []string{carol, bob}, func(_ context.Context, batch states) (answer, error) {
		return everybody(both, batch), nil
	})
	received := sequences(deliveries)
	if got := fmt.Sprint(received[alice], received["@erin:elsewhere.org"]); got != "[1 2] [2]" {
		t.Errorf("local and remote recipient received %s, want [1 2] [2]", got)
	}
}

func TestDeliveryIsSplitByBytes(t *testing.T) {
	t.Parallel()
	const updates = 16
	deliveries := deliverAtOnce(t, slices.Repeat([]string{bob}, updates), func(_ context.Context, batch states) (answer, error) {
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	}, func(c *stream.Config) { c.Streams.Deliveries.MaxDeliveryBytes = 1 << 10 })
	if len(deliveries) != 2 {
		t.Errorf("%d deliveries, want the fewest: 2", len(deliveries))
	}
	for _, d := range deliveries {
		if len(d.data) > 1<<10 {
			t.Errorf("delivery has %d bytes, want at most 1024", len(d.data))
		}
	}
	wantOnce(t, deliveries, 1, updates, alice)
}

// A state that a router made up and that the server would not take is left out,
// and its update is a dead letter; the rest is delivered.
func TestStateTooLargeForServerIsDeadLetter(t *testing.T) {
	t.Parallel()
	s := routeAtOnce(t, []string{bob, bob}, []routing.Registration{registration(routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if len(batch) < 2 {
			return nil, nil
		}
		huge := batch[1]
		huge.StatusMsg = presence.Status(strings.Repeat("x", 2<<20))
		return answer{
			presence.MustUserID(alice):               batch,
			presence.MustUserID("@dave:example.com"): {batch[0], huge},
		}, nil
	}))})
	received := sequences(s.deliveries(t))
	if got := fmt.Sprint(received[alice], received["@dave:example.com"]); got != "[1 2] [1]" {
		t.Errorf("recipients received %s, want [1 2] [1]", got)
	}
	letter := s.awaitLetters(t, 1)[0].Letter
	if letter.Router != "static" || letter.Sequence != 2 || !strings.Contains(letter.Error, "@dave:example.com") {
		t.Errorf("letter is of router %q at %d: %s", letter.Router, letter.Sequence, letter.Error)
	}
}
