package query

import (
	"context"
	"slices"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// usersForStates answers who should receive which states.
func (a *answerer) usersForStates(ctx context.Context, dst, request []byte) ([]byte, error) {
	r, err := wire.DecodeUsersForStatesRequest(request, a.maxUpdate)
	if err != nil {
		return nil, err
	}
	recipients, err := a.route(ctx, r.States)
	if err != nil {
		return nil, err
	}
	page, err := wire.UsersForStatesAnswer{Users: a.pageFrom(recipients, r.After, r.AfterStates)}.Fit(a.maxAnswer)
	if err != nil {
		return nil, err
	}
	if page.NextStates > 0 && page.Next == r.After {
		page.NextStates += r.AfterStates
	}
	return page.Append(dst), nil
}

// route asks the routers once who receives states, as the stream path does. A
// result that ctx cut short is an error, and so is one that all routers failed on.
func (a *answerer) route(ctx context.Context, states []presence.UserState) ([]routing.Recipient, error) {
	if len(states) == 0 {
		return nil, nil
	}
	result := a.dispatcher.UsersForStates(ctx, states)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := result.Err(); err != nil {
		return nil, err
	}
	if a.coalesce {
		for i, r := range result.Recipients {
			result.Recipients[i].States = routing.NewestPerUser(r.States)
		}
	}
	return result.Recipients, nil
}

// pageFrom returns the first of recipients behind after, or behind the first
// afterStates of its states where that is not 0: at least as many as fit an answer.
func (a *answerer) pageFrom(recipients []routing.Recipient, after presence.UserID, afterStates int) []wire.UserStates {
	const least = len(`"@:a":[{"user_id":"@:a","state":"x.y"}],`)
	rest := recipients
	if !after.IsZero() {
		at, found := slices.BinarySearchFunc(recipients, after, func(r routing.Recipient, user presence.UserID) int {
			return r.UserID.Compare(user)
		})
		rest = recipients[at:]
		if found && afterStates < len(rest[0].States) && afterStates > 0 {
			rest = slices.Clone(rest[:min(len(rest), a.maxAnswer/least+1)])
			rest[0].States = rest[0].States[afterStates:]
		} else if found {
			rest = rest[1:]
		}
	}
	users := make([]wire.UserStates, min(len(rest), a.maxAnswer/least+1))
	for i := range users {
		users[i] = wire.UserStates{UserID: rest[i].UserID, States: rest[i].States}
	}
	return users
}
