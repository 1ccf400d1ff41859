package query

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// answerer answers queries from what the routers say and what the streams hold.
// Its methods are called by several goroutines at once.
type answerer struct {
	dispatcher *routing.Dispatcher
	isLocal    func(presence.ServerName) bool
	coalesce   bool
	maxUpdate  int // bytes of one state in a request
	maxAnswer  int // bytes that the server takes in one message
	states     newestStates
	replayer   replayer
}

// answerer returns an answerer that reads and stores through c.states.
func (w *Service) answerer(c queryConnections) (*answerer, error) {
	nc := c.states
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return &answerer{
		dispatcher: w.Dispatcher,
		isLocal:    w.IsLocal,
		coalesce:   w.Coalesce,
		maxUpdate:  w.MaxUpdate,
		maxAnswer:  int(c.answers.MaxPayload()),
		states: newestStates{
			nc: nc, js: js, subjects: w.Subjects, enabled: w.HasStates, layout: w.Layout, maxBytes: w.MaxUpdate,
		},
		replayer: replayer{
			js: js, subjects: w.Subjects, isLocal: w.IsLocal, shards: w.Shards, maxDelivery: w.MaxDelivery,
			maxPayload: int(nc.MaxPayload()) - wire.HeaderRoom, telemetry: w.telemetry,
		},
	}, nil
}

// mayReceive reports whether recipient may be sent states of user: a homeserver
// speaks to other servers for its own users only.
func (a *answerer) mayReceive(recipient, user presence.UserID) bool {
	return a.isLocal(recipient.Server()) || a.isLocal(user.Server())
}

// inOrder returns users sorted, each once, those behind after only.
func inOrder(users []presence.UserID, after presence.UserID) []presence.UserID {
	sorted := slices.Clone(users)
	slices.SortFunc(sorted, presence.UserID.Compare)
	return behindUser(slices.Compact(sorted), after)
}

// behindUser returns those of sorted users that come after after.
func behindUser(sorted []presence.UserID, after presence.UserID) []presence.UserID {
	if after.IsZero() {
		return sorted
	}
	at, found := slices.BinarySearchFunc(sorted, after, presence.UserID.Compare)
	if found {
		at++
	}
	return sorted[at:]
}

func isOffline(s wire.PlacedState) bool { return s.State.State == presence.Offline }
