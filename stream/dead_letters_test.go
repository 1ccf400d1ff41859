package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/deadletter"
	"github.com/presence-router/presence-router/stream/wire"
)

func (s *site) deadLetters(t *testing.T) *deadletter.Store {
	t.Helper()
	d, err := deadletter.NewStore(s.js, s.config.Streams.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// letters returns the dead letters that are kept with reason.
func (s *site) letters(t *testing.T, reason wire.Reason) []deadletter.Kept {
	t.Helper()
	var kept []deadletter.Kept
	eventually(t, "answer about the dead letters", func() bool {
		kept = nil
		for k, err := range s.deadLetters(t).All(t.Context(), reason) {
			if errors.Is(err, nats.ErrTimeout) {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, k)
		}
		return true
	})
	return kept
}

// awaitLetters waits until n dead letters, which are to be all, are committed and
// kept: their stream follows the one of deliveries.
func (s *site) awaitLetters(t *testing.T, n int) []deadletter.Kept {
	t.Helper()
	committed := 0
	eventually(t, fmt.Sprintf("commit of %d dead letters", n), func() bool {
		committed = natstest.Count(t, s.js, s.subjects.DeliveriesStream(), s.subjects.DeadAll())
		return committed >= n
	})
	if committed != n {
		t.Fatalf("%d dead letters are committed, want %d", committed, n)
	}
	eventually(t, fmt.Sprintf("%d dead letters", n), func() bool {
		info, err := s.js.Stream(t.Context(), s.subjects.DeadStream())
		return err == nil && info.CachedInfo().State.Msgs >= uint64(n) //nolint:gosec // n is positive.
	})
	kept := s.letters(t, "")
	if len(kept) != n {
		t.Fatalf("%d dead letters, want %d", len(kept), n)
	}
	return kept
}

func TestDeadLetterOfEachReason(t *testing.T) {
	t.Parallel()
	of := func(user string) string { return "presence.update.example%2Ecom." + user }
	tests := []struct {
		reason        wire.Reason
		subject, data string
		wantError     string
	}{
		{wire.Malformed, of("bob"), "{", "byte 1"},
		{wire.InvalidUserID, of("bob"), `{"user_id":"bob","state":"online"}`, "user_id"},
		{wire.InvalidState, of("bob"), `{"user_id":"@bob:example.com","state":"asleep"}`, "state"},
		{wire.SubjectMismatch, of("mallory"), update(bob, 1), `user_id is "@bob:example.com": want the user that subject presence.update.example%2Ecom.mallory names`},
		{wire.SubjectMismatch, "presence.update.not%2eatoken.bob", update(bob, 1), "not%2eatoken"},
		{
			wire.SubjectMismatch, "presence.update.example%2ecom.bob", update(bob, 1),
			`user_id is "@bob:example.com": want subject presence.update.example%2Ecom.bob: parse subject "presence.update.example%2ecom.bob": ` +
				`invalid subject token "example%2ecom": "%2e" must be % and two upper-case hex digits`,
		},
		{wire.TooLarge, of("bob"), `{"user_id":"@bob:example.com","state":"online","status_msg":"` + strings.Repeat("x", 64<<10) + `"}`, "65536"},
	}
	s := newSite(t)
	last := uint64(0)
	header := nats.Header{"X-Origin": {"one", "two"}}
	for i, tt := range tests {
		s.publish(t, bob, 2*i)
		last = s.publishRaw(t, tt.subject, tt.data, header)
	}
	last = max(last, s.publish(t, bob, 2*len(tests)))
	w := s.start(t, toEach(t, alice)) // afterwards, so that all are of one batch
	s.awaitPosition(t, last)
	w.stop(t)
	kept := s.awaitLetters(t, len(tests))
	for i, tt := range tests {
		letter := kept[i].Letter
		if letter.Reason != tt.reason || letter.Subject != tt.subject || letter.Sequence != uint64(2*i+2) || letter.Router != "" {
			t.Errorf("letter %d is about %s on %s at %d, router %q; want %s on %s at %d",
				i, letter.Reason, letter.Subject, letter.Sequence, letter.Router, tt.reason, tt.subject, 2*i+2)
		}
		if !strings.Contains(letter.Error, tt.wantError) {
			t.Errorf("error of letter %d is %q, want it to name %q", i, letter.Error, tt.wantError)
		}
		if string(letter.Payload) != tt.data || letter.Truncated || letter.Headers["X-Origin"][1] != "two" {
			t.Errorf("letter %d does not hold the update as published: %d bytes, headers %v", i, len(letter.Payload), letter.Headers)
		}
		stored, err := s.updatesStream(t).GetMsg(t.Context(), letter.Sequence)
		if err != nil || letter.Time.Sub(stored.Time).Abs() > 1e6 {
			t.Errorf("time of letter %d is %v, want %v to the millisecond (%v)", i, letter.Time, stored, err)
		}
	}
	received := sequences(s.deliveries(t))[alice]
	if want := "[1 3 5 7 9 11 13 15]"; fmt.Sprint(received) != want {
		t.Errorf("%s received %v, want the updates that are valid: %s", alice, received, want)
	}
}

func TestDeadLetterThatIsTooLargeIsTruncated(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	edit(t, s.js, s.subjects.UpdatesStream(), func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 }) // As earlier versions made it.
	data := update(bob, 1) + strings.Repeat(" ", 900<<10)
	s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), data, nil))
	w.stop(t)
	kept := s.awaitLetters(t, 1)[0]
	if !kept.Letter.Truncated || !bytes.HasPrefix([]byte(data), kept.Letter.Payload) || len(kept.Letter.Payload) < 500<<10 {
		t.Errorf("letter holds %d bytes, truncated %t; want the beginning of the update", len(kept.Letter.Payload), kept.Letter.Truncated)
	}
	if _, err := s.deadLetters(t).Requeue(t.Context(), kept.ID); !errors.Is(err, deadletter.ErrTruncated) {
		t.Errorf("Requeue of a truncated letter = %v, want %v", err, deadletter.ErrTruncated)
	}
	if left := s.letters(t, ""); len(left) != 1 {
		t.Errorf("%d letters are left after that, want 1", len(left))
	}
}

// withLetters returns a site whose worker has stopped, with two malformed updates
// and one of a router that failed.
func withLetters(t *testing.T) (*site, []deadletter.Kept) {
	t.Helper()
	s := newSite(t)
	failing := routerOf(t, func(_ context.Context, batch states) (answer, error) {
		if batch[0].StatusMsg.IsSet {
			return nil, errors.New("out of order")
		}
		return everybody([]presence.UserID{presence.MustUserID(alice)}, batch), nil
	})
	w := s.startWith(t, []routing.Registration{{Name: "picky", Router: failing, Timeout: eventTimeout, OnError: routing.DeadLetter}})
	subject := s.subjects.Update(presence.MustUserID(bob))
	header := nats.Header{"Traceparent-Of": {"x"}, "Nats-Msg-Id": {"first"}}
	s.publishRaw(t, subject, "1", header)
	s.publishRaw(t, subject, "2", nil)
	s.awaitPosition(t, s.publishRaw(t, subject, `{"user_id":"@bob:example.com","state":"online","status_msg":"y"}`, nil))
	w.stop(t)
	return s, s.awaitLetters(t, 3)
}

func TestDeadLettersAll(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	for reason, want := range map[wire.Reason]int{"": 3, wire.Malformed: 2, wire.RouterFailed: 1, wire.TooLarge: 0} {
		if got := len(s.letters(t, reason)); got != want {
			t.Errorf("All(%q) yields %d letters, want %d", reason, got, want)
		}
	}
	for i := range kept[1:] {
		if kept[i].ID >= kept[i+1].ID || kept[i].Kept.After(kept[i+1].Kept) {
			t.Errorf("letters %v are not in order", kept)
		}
	}
	for k, err := range s.deadLetters(t).All(t.Context(), "") {
		if k.ID != kept[0].ID || err != nil {
			t.Errorf("All yields %d first, %v; want %d", k.ID, err, kept[0].ID)
		}
		break // A reader may stop early.
	}
	if failed := kept[2].Letter; failed.Router != "picky" || !strings.Contains(failed.Error, "out of order") {
		t.Errorf("letter names router %q and error %q", failed.Router, failed.Error)
	}
}

func TestDeadLettersGet(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	got, err := s.deadLetters(t).Get(t.Context(), kept[1].ID)
	if err != nil || string(got.Letter.Payload) != "2" || got.ID != kept[1].ID || !got.Kept.Equal(kept[1].Kept) {
		t.Errorf("Get(%d) = %+v, %v, want %+v", kept[1].ID, got, err, kept[1])
	}
	if _, err := s.deadLetters(t).Get(t.Context(), 99); !errors.Is(err, deadletter.ErrNotFound) || !strings.Contains(err.Error(), "99") {
		t.Errorf("Get(99) = %v, want %v", err, deadletter.ErrNotFound)
	}
}

func TestDeadLettersRequeue(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	sequence, err := s.deadLetters(t).Requeue(t.Context(), kept[0].ID)
	if err != nil || sequence != 4 {
		t.Fatalf("Requeue = %d, %v, want the next sequence 4", sequence, err)
	}
	again, err := s.updatesStream(t).GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Data) != "1" || again.Subject != "presence.update.0.example%2Ecom.bob" || again.Header.Get("Traceparent-Of") != "x" {
		t.Errorf("requeued update is %s on %s with %v, want it as published", again.Data, again.Subject, again.Header)
	}
	if left := s.letters(t, ""); len(left) != 2 || left[0].ID != kept[1].ID {
		t.Errorf("letters left are %v, want the other two", left)
	}
	if _, err := s.deadLetters(t).Requeue(t.Context(), kept[0].ID); !errors.Is(err, deadletter.ErrNotFound) {
		t.Errorf("second Requeue = %v, want %v", err, deadletter.ErrNotFound)
	}
}

// A requeue that ends between publishing and deleting is done again.
func TestDeadLettersRequeueTwiceAtOncePublishesOnce(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	dead := s.stream(t, s.subjects.DeadStream())
	raw, err := dead.GetMsg(t.Context(), kept[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("requeue-%d-%d", kept[1].ID, raw.Time.UnixNano())
	s.publishRaw(t, kept[1].Letter.Subject, "2", nats.Header{"Nats-Msg-Id": {id}})
	sequence, err := s.deadLetters(t).Requeue(t.Context(), kept[1].ID)
	if err != nil || sequence != 4 {
		t.Errorf("Requeue after one that was interrupted = %d, %v, want 4", sequence, err)
	}
	if got := s.updatesStream(t).CachedInfo().State.Msgs; got != 4 {
		t.Errorf("the stream holds %d updates, want 4", got)
	}
}

func TestDeadLettersPurge(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	if n, err := s.deadLetters(t).Purge(t.Context(), wire.Malformed); err != nil || n != 2 {
		t.Errorf("Purge(malformed) = %d, %v, want 2", n, err)
	}
	if left := s.letters(t, ""); len(left) != 1 || left[0].ID != kept[2].ID {
		t.Errorf("letters left are %v, want the one of the router", left)
	}
	if n, err := s.deadLetters(t).Purge(t.Context(), ""); err != nil || n != 1 {
		t.Errorf("Purge = %d, %v, want 1", n, err)
	}
	if left := s.letters(t, ""); len(left) != 0 {
		t.Errorf("letters left are %v, want none", left)
	}
}

func TestDeadLettersWithoutStream(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.DeadStream()); err != nil {
		t.Fatal(err)
	}
	d := s.deadLetters(t)
	_, get := d.Get(t.Context(), 1)
	_, requeue := d.Requeue(t.Context(), 1)
	_, purge := d.Purge(t.Context(), "")
	next, stop := iter.Pull2(d.All(t.Context(), ""))
	defer stop()
	_, all, _ := next()
	for name, err := range map[string]error{"Get": get, "Requeue": requeue, "Purge": purge, "All": all} {
		if err == nil || !strings.Contains(err.Error(), "PRESENCE_DEAD") {
			t.Errorf("%s = %v, want an error that names the stream", name, err)
		}
	}
	if _, err := deadletter.NewStore(s.js, "Bad Prefix"); err == nil {
		t.Errorf("NewStore takes any prefix")
	}
}

// Whoever can store dead letters chooses what they say.
func TestDeadLettersRequeueUpdatesAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	subjects := []string{
		"presence.checkpoint.3", "presence.update.a.b.c", "presence.update.a", "presence.update..b", "presence.update.*.b", "presence.update.a.>",
		"$JS.API.STREAM.PURGE.PRESENCE_DEAD", "_INBOX.a", "",
	}
	for _, subject := range subjects {
		letter := wire.DeadLetter{Reason: wire.Malformed, Subject: subject, Payload: []byte("x")}
		s.publishRaw(t, s.subjects.Dead(wire.Malformed), string(letter.Encode(1<<20)), nil)
	}
	for _, kept := range s.awaitLetters(t, len(subjects)) {
		_, err := s.deadLetters(t).Requeue(t.Context(), kept.ID)
		if want := fmt.Sprintf("its subject is %q, want that of an update, presence.update.*.*", kept.Letter.Subject); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Requeue = %v, want %s", err, want)
		}
	}
}

// Whoever knows a letter can publish something with the ID that requeueing uses.
func TestDeadLettersRequeueNoticesAnotherUpdate(t *testing.T) {
	t.Parallel()
	s, kept := withLetters(t)
	raw, err := s.stream(t, s.subjects.DeadStream()).GetMsg(t.Context(), kept[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("requeue-%d-%d", kept[1].ID, raw.Time.UnixNano())
	s.publishRaw(t, kept[1].Letter.Subject, "another", nats.Header{"Nats-Msg-Id": {id}})
	if _, err := s.deadLetters(t).Requeue(t.Context(), kept[1].ID); err == nil || !strings.Contains(err.Error(), "update 4 was published with its message ID") {
		t.Errorf("Requeue = %v, want that the ID is taken", err)
	}
	if _, err := s.deadLetters(t).Get(t.Context(), kept[1].ID); err != nil {
		t.Errorf("the letter is gone: %v", err)
	}
}
