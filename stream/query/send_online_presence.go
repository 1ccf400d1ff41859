package query

import (
	"context"
	"math"
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// sendOnlinePresence delivers to users the present states of those whose presence
// they may see, offline ones left out.
func (a *answerer) sendOnlinePresence(ctx context.Context, dst, request []byte) ([]byte, error) {
	r, err := wire.DecodeSendOnlinePresenceRequest(request)
	if err != nil {
		return nil, err
	}
	answer := firstPage(inOrder(r.Users, r.After), a.maxAnswer)
	if len(answer.Users) == 0 {
		return answer.Append(dst), nil
	}
	w, err := a.ask(ctx, answer.Users)
	if err != nil {
		return nil, err
	}
	if w.asked < len(answer.Users) {
		answer.Users, answer.Next = answer.Users[:w.asked], answer.Users[w.asked-1].UserID
	}
	sent, err := a.fulfil(ctx, w)
	if err != nil {
		return nil, err
	}
	for i := range answer.Users {
		answer.Users[i].States = sent[answer.Users[i].UserID]
	}
	return answer.Append(dst), nil
}

// firstPage returns the answer for as many of users as fit it whatever they are
// sent.
func firstPage(users []presence.UserID, maxBytes int) wire.SendOnlinePresenceAnswer {
	all := wire.SendOnlinePresenceAnswer{Users: make([]wire.SentStates, len(users))}
	for i, user := range users {
		all.Users[i] = wire.SentStates{UserID: user, States: math.MaxInt32}
	}
	return all.Fit(maxBytes)
}

// maxWished is how many users may be wished for in a page before nobody else is
// asked about: their IDs are held until all are.
const maxWished = 100_000

// wishes is whose presence the first of users may see.
type wishes struct {
	asked     int                      // users that were asked about
	everybody map[presence.UserID]bool // users who may see everybody's
	some      []wish                   // the others
}

// wish is whose presence one user may see.
type wish struct {
	recipient presence.UserID
	users     []presence.UserID
}

// ask asks about users before any is sent something, as far as maxWished lets it.
func (a *answerer) ask(ctx context.Context, users []wire.SentStates) (wishes, error) {
	w := wishes{everybody: make(map[presence.UserID]bool)}
	wished := 0
	for ; w.asked < len(users) && wished < maxWished; w.asked++ {
		user := users[w.asked].UserID
		result, err := a.dispatcher.InterestedUsers(ctx, user)
		if err != nil {
			return wishes{}, err
		}
		if result.Interest.IsAll() {
			w.everybody[user] = true
			continue
		}
		one := wish{recipient: user, users: result.Interest.Users()}
		wished += len(one.users)
		w.some = append(w.some, one)
	}
	return w, ctx.Err()
}

// fulfil delivers what is wished for, and returns how many states each recipient is
// sent.
func (a *answerer) fulfil(ctx context.Context, w wishes) (map[presence.UserID]int, error) {
	epochs, err := a.states.readEpochs(ctx)
	if err != nil {
		return nil, err
	}
	replay := a.replayer.begin()
	for _, wish := range w.some {
		if err := a.sendSome(ctx, replay, epochs, wish); err != nil {
			return nil, err
		}
	}
	if err := a.sendEverybody(ctx, replay, epochs, w.everybody); err != nil {
		return nil, err
	}
	return replay.sent, replay.finish(ctx)
}

// sendSome sends the states of those whom w names, as far as its recipient may
// receive them.
func (a *answerer) sendSome(ctx context.Context, replay *replay, epochs partitionEpochs, w wish) error {
	for states, err := range a.states.of(ctx, epochs, w.users) {
		if err != nil {
			return err
		}
		states = slices.DeleteFunc(states, func(s wire.PlacedState) bool {
			return isOffline(s) || !a.mayReceive(w.recipient, s.State.UserID)
		})
		if err := replay.send(ctx, w.recipient, states); err != nil {
			return err
		}
	}
	return nil
}

// sendEverybody sends everybody's states to those of recipients whom the routers
// choose for them. The dispatcher has seen to it that each may receive them.
func (a *answerer) sendEverybody(ctx context.Context, replay *replay, epochs partitionEpochs, recipients map[presence.UserID]bool) error {
	if len(recipients) == 0 {
		return nil
	}
	for states, err := range a.states.ofEverybody(ctx, epochs) {
		if err != nil {
			return err
		}
		routed, err := a.routeTo(ctx, recipients, slices.DeleteFunc(states, isOffline))
		if err != nil {
			return err
		}
		for recipient, states := range routed {
			if err := replay.send(ctx, recipient, slices.DeleteFunc(states, isOffline)); err != nil {
				return err
			}
		}
	}
	return nil
}
