package dendrite_test

import (
	"bytes"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/source/dendrite"
	"github.com/presence-router/presence-router/stream/wire"
)

// What a real Dendrite has published becomes updates, of its own users alone.
func TestHeadersBecomeUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := config()
	c.ServerNames = []presence.ServerName{presence.MustServerName("localhost:18448")}
	s.run(t, c)
	s.awaitConsumer(t)
	headers, err := os.ReadFile("testdata/headers.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range decodeLines[map[string]string](t, headers) {
		var pairs []string
		for name, value := range message {
			pairs = append(pairs, name, value)
		}
		s.emit(t, pairs...)
	}
	s.awaitDone(t)
	want, err := os.ReadFile("testdata/updates.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, m := range s.stored(t) {
		got.Write(m.Data())
		got.WriteByte('\n')
	}
	if got.String() != string(want) {
		t.Errorf("updates are\n%s\nwant\n%s", &got, want)
	}
}

func TestOnlineUsersAreActive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t, config())
	s.awaitConsumer(t)
	now, before := time.Now().UnixMilli(), time.Now().Add(-6*time.Minute).UnixMilli()
	for _, state := range []string{"online", "unavailable"} {
		s.emit(t, "user_id", bob, "presence", state, "last_active_ts", itoa(now))
	}
	s.emit(t, "user_id", bob, "presence", "online", "last_active_ts", itoa(before))
	s.awaitDone(t)
	for i, m := range s.stored(t) {
		state, err := wire.DecodeUpdate(m.Data(), 0, len(m.Data()))
		if err != nil {
			t.Fatal(err)
		}
		if want := i == 0; state.CurrentlyActive != want {
			t.Errorf("%s is active: %v, want %v", m.Data(), state.CurrentlyActive, want)
		}
	}
}

// A status that a message leaves open is the last one that is known, by this process or
// by the router.
func TestUnchangedStatusIsFilledIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.run(t, config())
	s.awaitConsumer(t)
	s.is(t, bob, "online")
	s.says(t, bob, "lunch ☕")
	s.is(t, bob, "unavailable")
	s.says(t, carol, "away")
	s.says(t, carol, "")
	s.is(t, carol, "offline")
	s.awaitDone(t)
	first.stop()
	second := s.run(t, config())
	s.is(t, bob, "offline")
	s.is(t, carol, "online")
	s.want(t, "bob online -", "bob online lunch ☕", "bob unavailable lunch ☕", "carol online away", "carol online -", "carol offline -",
		"bob offline lunch ☕", "carol online -")
	if second.measured(t, "presence_router_source_active", "") != 1 || first.measured(t, "presence_router_source_active", "") != 0 {
		t.Error("want that the second process is the active one")
	}
}

// Without newest states, what this process does not know is no status.
func TestStatusIsNotLookedUpWithoutStates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	c := config()
	c.LookUp = false
	s.run(t, c)
	s.awaitConsumer(t)
	s.is(t, bob, "online")
	s.says(t, bob, "lunch")
	s.is(t, bob, "offline")
	s.want(t, "bob online -", "bob online lunch", "bob offline lunch")
}

// Others than the users of the server names are not published, whatever they are called.
func TestUsersOfOtherServersAreLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run(t, config())
	s.awaitConsumer(t)
	foreign := []string{
		"@bob:example.com.evil.org", "@bob:EXAMPLE.com", "@bob:example.com:8448", "@x:evil.org", "@bob@example.com:evil.org", "@bob:xexample.com",
	}
	for _, user := range foreign {
		s.says(t, user, "hello")
	}
	none := []string{"", "bob", "@bob", "bob:example.com", "@bob:example.com:x:y", "@bob: example.com", "@bob:example.com\x00", "@" + strings.Repeat("x", 300) + ":example.com"}
	for _, user := range none {
		s.says(t, user, "hello")
	}
	s.emit(t, "USER_ID", bob, "presence", "online", "last_active_ts", "1")
	s.says(t, bob, "it is me")
	s.want(t, "bob online it is me")
	r.awaitOutcome(t, "foreign", int64(len(foreign)))
	r.awaitOutcome(t, "malformed", int64(len(none)+1))
	if log := r.log.String(); strings.Count(log, "passing over messages that name no user") != 1 {
		t.Errorf("the log is\n%s\nwant one line about messages that name no user", log)
	}
}

// What is no update becomes a dead letter: it is published as it is. What the server
// does not take is left out.
func TestWhatIsNoUpdateHoldsNothingUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run(t, config())
	s.awaitConsumer(t)
	s.is(t, bob, "unknown")
	s.emit(t, "user_id", bob, "presence", "online", "last_active_ts", "yesterday", "status_msg", `"last_active_ts":0`)
	s.emit(t, "user_id", bob, "presence", "online", "last_active_ts", "-1")
	s.emit(t, "user_id", bob)
	s.says(t, bob, strings.Repeat(`"`, 40_000)) // twice as long in JSON
	s.says(t, bob, "well")
	r.awaitOutcome(t, "invalid", 4)
	r.awaitOutcome(t, "refused", 1)
	r.awaitOutcome(t, "published", 1)
	stored := s.stored(t)
	for i, want := range []wire.Reason{wire.InvalidState, wire.Malformed, wire.Malformed, wire.Malformed} {
		_, err := wire.DecodeUpdate(stored[i].Data(), 0, len(stored[i].Data()))
		if invalid, ok := errorAs[*wire.InvalidError](err); !ok || invalid.Reason != want {
			t.Errorf("update %s is decoded with error %v, want reason %s", stored[i].Data(), err, want)
		}
	}
	if log := r.log.String(); strings.Count(log, "passing over updates that the router's NATS refuses") != 1 {
		t.Errorf("the log is\n%s\nwant one line about what is refused", log)
	}
}

// One of two processes publishes, and the other one continues where the first one ends.
func TestAnotherProcessTakesOver(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		ackWait time.Duration // where it is long, the first one lets the second one go on
		end     func(*running)
	}{
		{"when the first one stops", time.Minute, func(r *running) { r.stop() }},
		{"when the first one crashes", time.Second, func(r *running) { r.crash() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, c := newSite(t), config()
			c.AckWait = tt.ackWait
			first := s.run(t, c)
			s.awaitConsumer(t)
			s.says(t, bob, "0")
			s.want(t, "bob online 0")
			second := s.run(t, c)
			second.awaitReady(t)
			want := []string{"bob online 0"}
			for i := range 100 {
				if i == 50 {
					tt.end(first)
				}
				if i%10 == 9 {
					s.is(t, bob, "unavailable")
					want = append(want, "bob unavailable "+itoa(int64(i-1)))
					continue
				}
				s.says(t, bob, itoa(int64(i)))
				want = append(want, "bob online "+itoa(int64(i)))
			}
			s.want(t, want...)
			if got := second.measured(t, "presence_router_source_active", ""); got != 1 {
				t.Errorf("the second process is active: %d, want 1", got)
			}
		})
	}
}

// A process that stops gives up its pin at once.
func TestProcessThatStopsLetsOthersGoOn(t *testing.T) {
	t.Parallel()
	s, c := newSite(t), config()
	c.AckWait = time.Minute
	first := s.run(t, c)
	s.awaitConsumer(t)
	s.says(t, bob, "0")
	s.awaitDone(t)
	if s.pinned(t) == "" {
		t.Error("want that the active process is pinned")
	}
	first.stop()
	if got := s.pinned(t); got != "" {
		t.Errorf("after the end of the process %s is pinned, want nobody", got)
	}
}

// A process that was cut off for a while does not go by what it knew before.
func TestWhatAnotherProcessPublishedCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var mute atomic.Bool
	silence := func(frame []byte) ([]byte, natstest.Verdict) {
		if mute.Load() {
			return frame, natstest.Swallow
		}
		return frame, natstest.Pass
	}
	proxy := &natstest.Proxy{FromClient: silence, FromServer: silence}
	first := runAt(t, proxy.Start(t, s.from.URL()), s.to.URL(), config())
	s.awaitConsumer(t)
	s.says(t, bob, "first")
	s.want(t, "bob online first")
	s.awaitDone(t)
	mute.Store(true)
	second := s.run(t, config())
	s.says(t, bob, "second")
	s.want(t, "bob online first", "bob online second")
	s.awaitDone(t)
	mute.Store(false)
	proxy.CutAll()
	second.stop()
	s.is(t, bob, "offline")
	s.want(t, "bob online first", "bob online second", "bob offline second")
	first.awaitOutcome(t, "published", 2)
}

// A process that published and could not acknowledge is followed by one that publishes
// nothing again, also if the server has forgotten the message ID.
func TestWhatIsPublishedAlreadyIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]time.Duration{"that the server knows": 2 * time.Minute, "that the server has forgotten": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.setDuplicateWindow(t, window)
			var mute atomic.Bool
			proxy := &natstest.Proxy{FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
				if mute.Load() && bytes.Contains(frame, []byte("PUB $JS.ACK.")) {
					return frame, natstest.Swallow
				}
				return frame, natstest.Pass
			}}
			first := runAt(t, proxy.Start(t, s.from.URL()), s.to.URL(), config())
			s.awaitConsumer(t)
			mute.Store(true)
			s.says(t, bob, "0")
			s.want(t, "bob online 0")
			first.crash()
			eventually(t, "end of the window", func() bool { return window > time.Minute || s.forgets(t) })
			second := s.run(t, config())
			s.is(t, bob, "unavailable")
			s.want(t, "bob online 0", "bob unavailable 0")
			second.awaitOutcome(t, "duplicate", 1)
		})
	}
}

// An acknowledgement that is lost is sent again.
func TestLostAcknowledgementIsSentAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var lost atomic.Int32
	proxy := &natstest.Proxy{FromClient: func(frame []byte) ([]byte, natstest.Verdict) {
		if bytes.Contains(frame, []byte("PUB $JS.ACK.")) && lost.Add(1) <= 2 {
			return frame, natstest.Swallow
		}
		return frame, natstest.Pass
	}}
	r := runAt(t, proxy.Start(t, s.from.URL()), s.to.URL(), config())
	s.awaitConsumer(t)
	s.says(t, bob, "0")
	s.says(t, bob, "1")
	s.want(t, "bob online 0", "bob online 1")
	s.awaitDone(t)
	if got := r.measured(t, "presence_router_source_messages", ""); got != 2 {
		t.Errorf("%d messages are counted, want 2", got)
	}
}

// If Dendrite makes its stream again, sequences begin with 1, and nothing is taken for
// what was published before.
func TestStreamIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run(t, config())
	s.awaitConsumer(t)
	want := []string{}
	for i := range 5 {
		if i > 0 {
			s.remakeStream(t)
			s.awaitConsumer(t)
		}
		s.says(t, bob, itoa(int64(i)))
		s.is(t, bob, "offline")
		want = append(want, "bob online "+itoa(int64(i)), "bob offline "+itoa(int64(i)))
		s.want(t, want...)
	}
	if got := r.measured(t, "presence_router_source_lost_messages", ""); got != 0 {
		t.Errorf("%d messages count as lost, want none", got)
	}
}

// Dendrite makes its stream after the source was started, or much later than it deleted
// it.
func TestMissingStreamIsAwaited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.dendrite.DeleteStream(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	r := s.run(t, config())
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Errorf("before there is a stream, Ready() = %v, want that it is starting", err)
	}
	isMissing := func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "stream DendriteOutputPresenceEvent is missing")
	}
	eventually(t, "readiness to say what is missing", isMissing)
	s.makeStream(t)
	r.awaitReady(t)
	if err := s.dendrite.DeleteStream(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "readiness to say what is missing", isMissing)
	s.makeStream(t)
	r.awaitReady(t)
	s.says(t, bob, "hello")
	s.want(t, "bob online hello")
	if log := r.log.String(); !strings.Contains(log, "waiting, Dendrite's stream keeps messages for 5 minutes") || !strings.Contains(log, "going on") {
		t.Errorf("the log is\n%s\nwant that it waits and goes on", log)
	}
}

// A consumer that somebody deletes is made again, and what was done stays done.
func TestConsumerIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(t, config())
	s.awaitConsumer(t)
	s.says(t, bob, "0")
	s.want(t, "bob online 0")
	s.awaitDone(t)
	if err := s.dendrite.DeleteConsumer(t.Context(), topic, "presence-router"); err != nil {
		t.Fatal(err)
	}
	s.awaitConsumer(t)
	s.says(t, bob, "1")
	s.want(t, "bob online 0", "bob online 1")
}

// While the router's NATS is away, messages wait in Dendrite's stream. Those that it
// drops meanwhile are counted.
func TestRouterIsAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.remakeStream(t, func(c *jetstream.StreamConfig) { c.MaxAge = 3 * time.Second })
	r := s.run(t, config())
	s.awaitConsumer(t)
	s.says(t, bob, "before")
	s.want(t, "bob online before")
	s.awaitDone(t)
	r.awaitReady(t)

	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.says(t, bob, "meanwhile")
	}
	eventually(t, "readiness to say that it waits", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "publishing what DendriteOutputPresenceEvent holds")
	})
	s.awaitDone(t) // They are dropped.
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	s.says(t, bob, "after")
	var updates []jetstream.Msg
	eventually(t, "the update after the outage", func() bool {
		updates = s.stored(t)
		return len(updates) > 0 && strings.Contains(string(updates[len(updates)-1].Data()), "after")
	})
	lost := r.measured(t, "presence_router_source_lost_messages", "")
	if got := int64(len(updates)-1) + lost; got != 3 {
		t.Errorf("%d updates were published and %d count as lost, want 3 together", len(updates)-1, lost)
	}
	if lost > 0 != strings.Contains(r.log.String(), "messages are lost, Dendrite's stream dropped them") {
		t.Errorf("the log is\n%s\nwant that it says that %d messages are lost", &r.log, lost)
	}
}

// A process that is stopped finishes the message that it has.
func TestStopWhileTheRouterIsAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	first := s.run(t, config())
	s.awaitConsumer(t)
	s.says(t, bob, "0")
	eventually(t, "waiting", func() bool { return first.Ready() != nil })
	first.stop()
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	s.applyTopology(t)
	s.run(t, config())
	s.want(t, "bob online 0")
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	server := presence.MustServerName("example.com")
	tests := []struct {
		name   string
		change func(*dendrite.Config)
		want   string
	}{
		{"no server", func(c *dendrite.Config) { c.ServerNames = nil }, "server_names is missing: want the server names of this Dendrite"},
		{"a server twice", func(c *dendrite.Config) { c.ServerNames = []presence.ServerName{server, server} }, `server_names[1] is "example.com": want each name once`},
		{"a topic of two tokens", func(c *dendrite.Config) { c.TopicPrefix = "a.b" }, `topic_prefix is "a.b": want 1 to 64 of A-Z, a-z, 0-9, _ and -`},
		{"a name of two tokens", func(c *dendrite.Config) { c.Name = "a.b" }, `name is "a.b": want 1 to 64 of A-Z, a-z, 0-9, _ and -`},
		{"no time", func(c *dendrite.Config) { c.AckWait = 0 }, "ack_wait is 0s: want 1s to 1m0s"},
		{"a prefix with a wildcard", func(c *dendrite.Config) { c.APIPrefix = "a.>" }, `nats.api_prefix: API prefix is "a.>"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := config()
			tt.change(&c)
			if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Validate() = %v, want %s", err, tt.want)
			}
			if _, err := dendrite.New(nil, nil, c); err == nil {
				t.Error("New() = nil, want an error")
			}
		})
	}
}
