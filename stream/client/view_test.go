package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

// delivered returns a delivery to alice as it is read.
func delivered(t *testing.T, epoch int64, states ...shown) client.Delivery {
	t.Helper()
	var sequences, raw []string
	for _, s := range states {
		sequences = append(sequences, strconv.FormatUint(s.sequence, 10))
		raw = append(raw, fmt.Sprintf(`{"user_id":%q,"state":%q}`, s.user, s.state))
	}
	data := fmt.Sprintf(`{"recipient":%q,"epoch":%d,"sequences":[%s],"states":[%s]}`, alice, epoch, strings.Join(sequences, ","), strings.Join(raw, ","))
	decoded, err := wire.DecodeDelivery([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return client.Delivery{ReceivedDelivery: decoded, Position: client.Position{Sequence: 7}}
}

// told writes states as epoch.sequence=user:state.
func told(latest iter.Seq[client.Latest]) string {
	var all []string
	for l := range latest {
		all = append(all, fmt.Sprintf("%d.%d=%s:%s", l.Epoch, l.Sequence, l.State.UserID.Localpart(), l.State.State))
	}
	return strings.Join(all, " ")
}

func each(latest []client.Latest) iter.Seq[client.Latest] {
	return func(yield func(client.Latest) bool) {
		for _, l := range latest {
			if !yield(l) {
				return
			}
		}
	}
}

func TestViewKeepsTheNewest(t *testing.T) {
	t.Parallel()
	busy := func(user string, sequence uint64) shown { return shown{user, sequence, presence.Busy} }
	tests := []struct {
		name string
		take client.Delivery // into a view that has bob with 2.17, online
		news string
		want string
	}{
		{"newer", delivered(t, 2, busy(bob, 18)), "2.18=bob:busy", "2.18=bob:busy"},
		{"older", delivered(t, 2, busy(bob, 16)), "", "2.17=bob:online"},
		{"the same again", delivered(t, 2, busy(bob, 17)), "", "2.17=bob:online"},
		{"newer epoch", delivered(t, 3, busy(bob, 1)), "3.1=bob:busy", "3.1=bob:busy"},
		{"older epoch", delivered(t, 1, busy(bob, 99)), "", "2.17=bob:online"},
		{"made up", delivered(t, 2, busy(bob, 0)), "2.17=bob:busy", "2.17=bob:busy"},
		{"made up in a newer epoch", delivered(t, 3, busy(bob, 0)), "3.0=bob:busy", "3.0=bob:busy"},
		{"made up in an older epoch", delivered(t, 1, busy(bob, 0)), "", "2.17=bob:online"},
		{"another user", delivered(t, 2, busy(eva, 1)), "2.1=eva:busy", "2.17=bob:online 2.1=eva:busy"},
		{"several of one user", delivered(t, 2, online(bob, 18), busy(bob, 19)), "2.19=bob:busy", "2.19=bob:busy"},
		{"two of one update", delivered(t, 2, online(bob, 18), busy(bob, 18)), "2.18=bob:busy", "2.18=bob:busy"},
		{"the last is made up", delivered(t, 2, online(bob, 18), busy(bob, 0)), "2.18=bob:busy", "2.18=bob:busy"},
		{"the last is made up of old ones", delivered(t, 2, online(bob, 16), busy(bob, 0)), "", "2.17=bob:online"},
		{"several users", delivered(t, 2, busy(bob, 18), online(eva, 1), online(bob, 19)), "2.1=eva:online 2.19=bob:online", "2.19=bob:online 2.1=eva:online"},
		{"nothing", delivered(t, 2), "", "2.17=bob:online"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
			v.Take(delivered(t, 2, online(bob, 17)))
			if got := told(each(v.Take(tt.take))); got != tt.news {
				t.Errorf("news is %q, want %q", got, tt.news)
			}
			if got := told(v.All()); got != tt.want {
				t.Errorf("the view has %q, want %q", got, tt.want)
			}
			if got := v.Position().Sequence; got != 7 {
				t.Errorf("the position is %d, want 7", got)
			}
		})
	}
}

func TestViewIsOfOneRecipient(t *testing.T) {
	t.Parallel()
	v := client.NewView(presence.MustUserID(eva), client.DefaultViewBytes)
	if news := v.Take(delivered(t, 1, online(bob, 1))); news != nil || v.Len() != 0 || !v.Position().IsZero() {
		t.Errorf("a delivery to somebody else is news %v at %v, want nothing", news, v.Position())
	}
}

func TestViewIsBounded(t *testing.T) {
	t.Parallel()
	const room = 5
	v := client.NewView(presence.MustUserID(alice), room*450) // 450 bytes and less take one user
	user := func(n int) string { return fmt.Sprintf("@user%d:example.com", n) }
	for n := range uint64(room) {
		v.Take(delivered(t, 1, online(user(int(n)), n+1)))
	}
	v.Take(delivered(t, 1, shown{user(3), 10, presence.Offline}))
	v.Take(delivered(t, 1, online(user(0), 11)))
	if got := v.Len(); got != room {
		t.Fatalf("the view has %d users, want %d", got, room)
	}
	// The one offline goes first, then who did not change for longest.
	v.Take(delivered(t, 1, online(user(5), 12)))
	v.Take(delivered(t, 1, online(user(6), 13)))
	if got, want := told(v.All()), "1.11=user0:online 1.3=user2:online 1.5=user4:online 1.12=user5:online 1.13=user6:online"; got != want {
		t.Errorf("the view has %q, want %q", got, want)
	}
	if _, known := v.State(presence.MustUserID(user(1))); known {
		t.Errorf("the view knows %s, want it forgotten", user(1))
	}
	if l, known := v.State(presence.MustUserID(user(6))); !known || l.Sequence != 13 {
		t.Errorf("the view has %v of %s, want update 13", l, user(6))
	}
}

func TestViewIsRestored(t *testing.T) {
	t.Parallel()
	v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
	v.Take(delivered(t, 2, online(bob, 17), shown{eva, 3, presence.Offline}))
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := client.RestoreView(data, client.DefaultViewBytes)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := told(restored.All()), told(v.All()); got != want || restored.Recipient() != v.Recipient() || restored.Position().Sequence != 7 {
		t.Errorf("restored is %q at %v, want %q", got, restored.Position(), want)
	}
	if again, err := json.Marshal(restored); err != nil || string(again) != string(data) {
		t.Errorf("saved again it is %s, %v, want %s", again, err, data)
	}
	for _, bad := range []string{"", "[]", `{}`, `{"recipient":"alice"}`, `{"recipient":"@a:b","position":"x"}`, `{"recipient":"@a:b","states":[{"state":{}}]}`} {
		if _, err := client.RestoreView([]byte(bad), 1); err == nil {
			t.Errorf("RestoreView(%s) has no error", bad)
		}
	}
}

func TestViewCatchesUpAndFollows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
	catchUp := func(v *client.View, want string) {
		t.Helper()
		if err := c.CatchUp(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		if got := told(v.All()); got != want {
			t.Errorf("the view has %q, want %q", got, want)
		}
	}
	catchUp(v, "") // nothing is stored
	for n := range uint64(10) {
		s.deliver(t, alice, 1, online(bob, n+1), shown{eva, 2*n + 1, presence.Busy})
		s.deliver(t, eva, 1, online(bob, 99))
	}
	catchUp(v, "1.10=bob:online 1.19=eva:busy")
	last := s.deliver(t, eva, 1, online(bob, 100))
	catchUp(v, "1.10=bob:online 1.19=eva:busy")
	if got := v.Position().Sequence; got != last {
		t.Errorf("the position is %d, want %d, behind what is delivered to others", got, last)
	}

	saved, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = client.RestoreView(saved, client.DefaultViewBytes); err != nil {
		t.Fatal(err)
	}
	news := read(t, func(ctx context.Context) iter.Seq2[client.Latest, error] { return c.Follow(ctx, v) })
	s.deliver(t, alice, 1, online(bob, 9)) // old
	s.deliver(t, alice, 1, shown{bob, 11, presence.Offline}, online(eva, 20))
	if got := told(each([]client.Latest{news.want(t), news.want(t)})); got != "1.11=bob:offline 1.20=eva:online" {
		t.Errorf("news is %q, want the newer states", got)
	}
}

// A reader whose deliveries are few is as far as the stream, lest it takes what
// others were delivered for what it missed.
func TestPositionOfAQuietReaderMoves(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
	c := newClient(t, s.server.URL(), client.WithLookUps(10*time.Millisecond))
	news := read(t, func(ctx context.Context) iter.Seq2[client.Latest, error] { return c.Follow(ctx, v) })
	s.deliver(t, alice, 1, online(bob, 1))
	news.want(t)
	s.deliver(t, eva, 1, online(bob, 2))
	last := s.deliver(t, eva, 1, online(bob, 3))
	var following sync.WaitGroup
	following.Go(func() {
		if got, err, _ := news.next(); err != nil || got.Sequence != 4 {
			t.Errorf("news is %v, %v, want update 4", got, err)
		}
	})
	eventually(t, "position behind what others were delivered", func() bool { return v.Position().Sequence == last })
	moved := v.Position()
	s.deliver(t, alice, 1, online(bob, 4))
	following.Wait()
	wantSequences(t, "behind the position", sequencesOf(t, deliveries(t, c, client.All(), moved), 1), 4)
}

func TestCatchUpTellsOfEverything(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := newClient(t, s.server.URL())
	s.deliver(t, alice, 1, online(bob, 1))
	s.deliver(t, alice, 1, online(bob, 2))
	s.store(t, s.subjects.Delivery(wire.Local, 0, presence.MustUserID(alice)), "{}")
	s.deliver(t, alice, 1, online(bob, 3))
	old := end(t, c)
	old.Sequence, old.Time = 1, old.Time.Add(-time.Hour)
	s.forget(t, 1)
	s.forget(t, 2)
	v, err := client.RestoreView(fmt.Appendf(nil, `{"recipient":%q,"position":%q,"states":[]}`, alice, old), client.DefaultViewBytes)
	if err != nil {
		t.Fatal(err)
	}
	err = c.CatchUp(t.Context(), v)
	if !errors.As(err, new(*client.ExpiredError)) || !errors.As(err, new(*client.InvalidDeliveryError)) || !client.ReadsOn(err) || v.Len() != 1 {
		t.Errorf("CatchUp() = %v with %d users, want what expired, what is no delivery, and the rest", err, v.Len())
	}
	if err := s.js.DeleteStream(t.Context(), "PRESENCE_DELIVERIES"); err != nil {
		t.Fatal(err)
	}
	if err := c.CatchUp(t.Context(), v); client.ReadsOn(err) || client.ReadsOn(errors.Join(err, &client.ExpiredError{})) {
		t.Errorf("CatchUp() = %v, want an error that ends it", err)
	}
}

func TestViewCatchesUpBehindWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.store(t, s.subjects.Delivery(wire.Local, 0, presence.MustUserID(alice)), "{}")
	s.deliver(t, alice, 1, online(bob, 1))
	v := client.NewView(presence.MustUserID(alice), client.DefaultViewBytes)
	err := newClient(t, s.server.URL()).CatchUp(t.Context(), v)
	if !errors.As(err, new(*client.InvalidDeliveryError)) || !client.ReadsOn(err) || v.Len() != 1 {
		t.Errorf("CatchUp() = %v with %d users, want an error about one message, and the other", err, v.Len())
	}
}
