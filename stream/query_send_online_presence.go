package stream

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
	wishes, err := a.wishes(ctx, answer.Users)
	if err != nil {
		return nil, err
	}
	sent, err := a.fulfil(ctx, wishes)
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

// wishes is whose presence users may see.
type wishes struct {
	everybody map[presence.UserID]bool // users who may see everybody's
	some      []wish                   // the others
}

// wish is whose presence one user may see.
type wish struct {
	recipient presence.UserID
	users     []presence.UserID
}

// wishes asks for all users before any is sent something.
func (a *answerer) wishes(ctx context.Context, users []wire.SentStates) (wishes, error) {
	w := wishes{everybody: make(map[presence.UserID]bool)}
	for _, user := range users {
		result, err := a.dispatcher.InterestedUsers(ctx, user.UserID)
		if err != nil {
			return wishes{}, err
		}
		if result.Interest.IsAll() {
			w.everybody[user.UserID] = true
			continue
		}
		w.some = append(w.some, wish{recipient: user.UserID, users: result.Interest.Users()})
	}
	return w, ctx.Err()
}

// fulfil delivers what is wished for, and returns how many states each recipient is
// sent.
func (a *answerer) fulfil(ctx context.Context, w wishes) (map[presence.UserID]int, error) {
	epochs, err := a.states.epochs(ctx)
	if err != nil {
		return nil, err
	}
	replay := a.replayer.begin()
	for _, wish := range w.some {
		if err := a.fulfilOne(ctx, replay, epochs, wish); err != nil {
			return nil, err
		}
	}
	if len(w.everybody) > 0 {
		err := a.states.all(ctx, epochs, func(states []wire.PlacedState) error {
			return a.sendTo(ctx, replay, w.everybody, states)
		})
		if err != nil {
			return nil, err
		}
	}
	return replay.sent, replay.finish(ctx)
}

func (a *answerer) fulfilOne(ctx context.Context, replay *replay, epochs epochs, w wish) error {
	for part := range slices.Chunk(w.users, maxGetSubjects) {
		states, err := a.states.in(ctx, epochs, part)
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

// sendTo sends states to those of recipients whom the routers choose for them.
func (a *answerer) sendTo(ctx context.Context, replay *replay, recipients map[presence.UserID]bool, states []wire.PlacedState) error {
	states = slices.DeleteFunc(states, isOffline)
	routed, err := a.routeTo(ctx, recipients, states)
	if err != nil {
		return err
	}
	for recipient, states := range routed {
		if err := replay.send(ctx, recipient, slices.DeleteFunc(states, isOffline)); err != nil {
			return err
		}
	}
	return nil
}
