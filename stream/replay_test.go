package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

// replays returns the deliveries that queries asked for.
func (s *site) replays(t *testing.T) []delivery {
	t.Helper()
	return slices.DeleteFunc(s.deliveries(t), func(d delivery) bool { return d.header.Get(wire.ReplayHeader) != "1" })
}

// tell publishes an update of user with state and waits until it is the newest.
func (s *site) tell(t *testing.T, user, state string, mark int) uint64 {
	t.Helper()
	data := strings.Replace(update(user, mark), "online", state, 1)
	sequence := s.publishRaw(t, s.subjects.Update(presence.MustUserID(user)), data, nil)
	s.awaitState(t, user, data)
	return sequence
}

// As Synapse's own test of send_local_online_presence_to has it: three users with
// presence, two who see everybody, and one of another server.
func TestSendOnlinePresence(t *testing.T) {
	t.Parallel()
	const gobbler, other, remote, listed = "@gobbler1:example.com", "@gobbler2:example.com", "@far:elsewhere.org", "@listed:elsewhere.org"
	const dora, otherRemote = "@dora:example.com", "@eva:somewhere.org"
	s := newSite(t, func(c *stream.Config) { c.Streams.Partitions = 4 })
	// One partition is in a later epoch than the others.
	s.storeCheckpoint(t, wire.Partition(presence.MustUserID(dora), 4), s.updatesStream(t).CachedInfo().Created.UnixMilli()+1)
	s.start(t, matrix{gobbler: {"*"}, other: {"*"}, remote: {"*"}, alice: {bob, dora, otherRemote, "@b:a"}, listed: {bob, otherRemote}})
	s.tell(t, bob, "offline", 1)
	sequences := map[string]uint64{
		bob:         s.tell(t, bob, "online", 2),
		"@b:a":      s.tell(t, "@b:a", "offline", 3),
		otherRemote: s.tell(t, otherRemote, "online", 4),
		dora:        s.tell(t, dora, "unavailable", 5),
	}
	sent := s.sendOnlinePresence(t, gobbler, other, remote, alice, listed, gobbler, "@nobody:example.com")
	want := map[string][]string{
		gobbler: {bob, otherRemote, dora}, other: {bob, otherRemote, dora}, remote: {bob, dora}, alice: {bob, otherRemote, dora}, listed: {bob}, "@nobody:example.com": nil,
	}
	got := make(map[string][]string)
	for _, d := range s.replays(t) {
		for i, state := range d.States {
			user := state.UserID.String()
			got[d.Recipient.String()] = append(got[d.Recipient.String()], user)
			if d.Sequences[i] != sequences[user] || d.Epoch != s.epoch(t, user) {
				t.Errorf("the state of %s has epoch %d and sequence %d, want %d and %d", user, d.Epoch, d.Sequences[i], s.epoch(t, user), sequences[user])
			}
		}
		parsed, err := s.subjects.ParseDelivery(d.subject)
		if err != nil || parsed.Recipient != d.Recipient || (parsed.Scope == wire.Remote) != (d.Recipient.Server().String() == "elsewhere.org") {
			t.Errorf("subject of a delivery to %s is %s, %v", d.Recipient, d.subject, err)
		}
	}
	for recipient, users := range want {
		slices.Sort(users)
		slices.Sort(got[recipient])
		if !slices.Equal(got[recipient], users) || sent[recipient] != len(users) {
			t.Errorf("%s is sent the states of %v, %d by the answer, want those of %v", recipient, got[recipient], sent[recipient], users)
		}
	}
	if len(sent) != len(want) {
		t.Errorf("the answer is about %d users, want %d", len(sent), len(want))
	}
}

func TestSendOnlinePresenceLeavesOutWhomRoutersMakeOffline(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, batch states) (answer, error) {
			hidden := slices.Clone(batch)
			for i := range hidden {
				if hidden[i].UserID.String() == bob {
					hidden[i].State = presence.Offline
				}
			}
			return answer{presence.MustUserID(alice): hidden}, nil
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) { return routing.All(), nil },
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	s.start(t, router)
	s.tell(t, bob, "online", 1)
	s.tell(t, carol, "online", 2)
	if sent := s.sendOnlinePresence(t, alice); sent[alice] != 1 {
		t.Errorf("alice is sent %d states, want 1", sent[alice])
	}
}

// A pass over everybody's state asks the routers part by part.
func TestSendOnlinePresenceOfManyUsers(t *testing.T) {
	t.Parallel()
	const users = 2500
	s := newSite(t, func(c *stream.Config) {
		c.Streams.Deliveries.MaxDeliveryBytes = 70 << 10
		c.Worker.Start = stream.Newest // the stream path asks the routers nothing
	})
	var most atomic.Int64
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, batch states) (answer, error) {
			most.Store(max(most.Load(), int64(len(batch))))
			return answer{presence.MustUserID(alice): batch}, nil
		},
		InterestedUsers: func(_ context.Context, user presence.UserID) (routing.Interest, error) {
			if user.String() == alice {
				return routing.All(), nil
			}
			return routing.Users(manyUsers(users)...), nil
		},
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	s.populate(t, users)
	s.start(t, router)
	for recipient, bound := range map[string]int64{alice: 1000, carol: 0} {
		most.Store(0)
		before := len(s.replays(t))
		if sent := s.sendOnlinePresence(t, recipient); sent[recipient] != users {
			t.Errorf("%s is sent %d states, want %d", recipient, sent[recipient], users)
		}
		var got []presence.UserID
		for _, d := range s.replays(t)[before:] {
			for _, state := range d.States {
				got = append(got, state.UserID)
			}
			if len(d.data) > s.config.Streams.Deliveries.MaxDeliveryBytes {
				t.Errorf("a delivery has %d bytes, at most %d are allowed", len(d.data), s.config.Streams.Deliveries.MaxDeliveryBytes)
			}
		}
		slices.SortFunc(got, presence.UserID.Compare)
		if !slices.Equal(got, manyUsers(users)) || most.Load() > bound {
			t.Errorf("%s got %d states, the largest part is %d, want %d in parts of %d", recipient, len(got), most.Load(), users, bound)
		}
	}
}

// Of users who may see many, no more are asked about than are sent theirs next.
func TestSendOnlinePresenceAsksAboutAPageOfUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var asked atomic.Int64
	seen := routing.Users(manyUsers(60_000)...)
	s.start(t, interested(t, func(context.Context, presence.UserID) (routing.Interest, error) {
		asked.Add(1)
		return seen, nil
	}))
	s.tell(t, "@user0059999:example.com", "online", 1)
	var users []string
	pages := 0
	for r := (wire.SendOnlinePresenceRequest{Users: userIDs(alice, bob, carol)}); pages == 0 || !r.After.IsZero(); pages++ {
		data, err := s.ask(t, wire.SendOnlinePresence, r.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		page, err := wire.DecodeSendOnlinePresenceAnswer(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range page.Users {
			users = append(users, user.UserID.String())
			if user.States != 1 {
				t.Errorf("%s is sent %d states, want 1", user.UserID, user.States)
			}
		}
		if got := asked.Load(); got != int64(len(users)) {
			t.Errorf("%d users were asked about when %d were answered for", got, len(users))
		}
		r.After = page.Next
	}
	if !slices.Equal(users, []string{alice, bob, carol}) || pages != 2 {
		t.Errorf("answered for are %v on %d pages, want each once on 2", users, pages)
	}
}

// gauge is a router that alice sees all users through. It notes how many messages
// its worker has got from the server beyond the states it was asked about.
type gauge struct {
	nc     *nats.Conn // of the worker, for queries
	routed atomic.Int64
	most   atomic.Int64
}

func (g *gauge) router(t *testing.T) routing.Router {
	t.Helper()
	router, err := routing.Callbacks{
		UsersForStates: func(_ context.Context, batch states) (answer, error) {
			g.most.Store(max(g.most.Load(), g.got()-g.routed.Load()))
			g.routed.Add(int64(len(batch)))
			return answer{presence.MustUserID(alice): batch}, nil
		},
		InterestedUsers: func(context.Context, presence.UserID) (routing.Interest, error) {
			return routing.All(), nil
		},
	}.Router()
	if err != nil {
		t.Fatal(err)
	}
	return router
}

func (g *gauge) got() int64 {
	return int64(g.nc.Stats().InMsgs) //nolint:gosec // Far from that many.
}

// However many users there are, no more of them are held than are read at once, and
// each is read once.
func TestSendOnlinePresenceHoldsAPartOfAllUsers(t *testing.T) {
	t.Parallel()
	const (
		users = 20_000
		part  = 1000 // read at once
		other = 1000 // messages to the worker that are not states: acknowledgements, heartbeats
	)
	s := newSite(t, func(c *stream.Config) { c.Worker.Start = stream.Newest }) // the stream path asks the routers nothing
	s.populate(t, users)
	var g gauge
	made := s.stateConnections()
	s.start(t, g.router(t))
	g.nc = await(t, made, "connection for states")
	before := g.got()
	g.routed.Store(before)
	if sent := s.sendOnlinePresence(t, alice); sent[alice] != users {
		t.Errorf("alice is sent %d states, want %d", sent[alice], users)
	}
	if most := g.most.Load(); most > part+other {
		t.Errorf("%d states were held at once, want at most %d", most, part)
	}
	if got := g.got() - before; got < users || got > users+other {
		t.Errorf("the worker got %d messages for %d states, want each once", got, users)
	}
}

// populate stores an update of each of n users and waits until all are in the
// stream of newest states.
func (s *site) populate(t *testing.T, n int) {
	t.Helper()
	for i, user := range manyUsers(n) {
		if _, err := s.js.PublishAsync(s.subjects.Update(user), []byte(update(user.String(), i)), jetstream.WithStallWait(eventTimeout)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "states of everybody", func() bool {
		found, err := s.js.Stream(t.Context(), s.subjects.StateStream())
		return err == nil && found.CachedInfo().State.Msgs == uint64(n) //nolint:gosec // n is not negative.
	})
}

// What is known from before a break in the updates stream has no place in the new
// epoch, and is not sent.
func TestStatesFromBeforeABreakAreNotSent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, matrix{alice: {"*"}})
	s.tell(t, bob, "online", 1)
	if got := s.sendOnlinePresence(t, alice); got[alice] != 1 {
		t.Fatalf("before the break %d states are sent, want 1", got[alice])
	}
	before := s.epoch(t, bob)
	w.stop(t)
	if err := s.js.DeleteStream(t.Context(), s.subjects.UpdatesStream()); err != nil {
		t.Fatal(err)
	}
	s.start(t, matrix{alice: {"*"}})
	if after := s.epoch(t, bob); after <= before {
		t.Fatalf("the epoch is %d, want it above %d", after, before)
	}
	if got := s.sendOnlinePresence(t, alice); got[alice] != 0 {
		t.Errorf("after the break %d states are sent, want none", got[alice])
	}
	if got := s.currentStates(t, wire.CurrentStatesRequest{Users: userIDs(bob)}); len(got.States) != 0 {
		t.Errorf("after the break the states are %v, want none", got.States)
	}
}

// Who asked is told that a delivery is not stored.
func TestSendOnlinePresenceSaysWhatIsNotStored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, matrix{alice: {"*"}})
	s.awaitPosition(t, s.tell(t, bob, "online", 1))
	full := s.deliveriesStream(t).CachedInfo()
	full.Config.MaxMsgs = int64(full.State.Msgs) //nolint:gosec // Few.
	if _, err := s.js.UpdateStream(t.Context(), full.Config); err != nil {
		t.Fatal(err)
	}
	request := wire.SendOnlinePresenceRequest{Users: userIDs(alice)}
	_, err := s.ask(t, wire.SendOnlinePresence, request.Append(nil))
	wantQueryError(t, err, wire.CodeUnavailable, "maximum messages exceeded")
}

func TestSendOnlinePresenceSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(t, matrix{alice: {"*"}})
	if err := s.js.DeleteStream(t.Context(), s.subjects.StateStream()); err != nil {
		t.Fatal(err)
	}
	_, err := s.ask(t, wire.SendOnlinePresence, fmt.Appendf(nil, `{"users":[%q]}`, alice))
	wantQueryError(t, err, wire.CodeUnavailable, "look up stream PRESENCE_STATE")
}

func TestStatesCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.State.Enabled = false })
	s.start(t, matrix{alice: {"*"}})
	if _, err := s.js.Stream(t.Context(), s.subjects.StateStream()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("look up %s: %v, want that it is not there", s.subjects.StateStream(), err)
	}
	for query, request := range map[string]string{
		wire.SendOnlinePresence: `{"users":["@alice:example.com"]}`,
		wire.CurrentStates:      `{"users":["@alice:example.com"]}`,
	} {
		_, err := s.ask(t, query, []byte(request))
		wantQueryError(t, err, wire.CodeUnavailable, "newest states are not kept, see streams.state.enabled")
	}
	if page := s.interestedUsers(t, aliceAsks()); !page.AllUsers {
		t.Errorf("interest of %s is %+v, want all users", alice, page)
	}
}
