package query

import (
	"context"

	"github.com/presence-router/presence-router/stream/wire"
)

// interestedUsers answers whose presence a user may see.
func (a *answerer) interestedUsers(ctx context.Context, dst, request []byte) ([]byte, error) {
	r, err := wire.DecodeInterestedUsersRequest(request)
	if err != nil {
		return nil, err
	}
	result, err := a.dispatcher.InterestedUsers(ctx, r.UserID)
	if err != nil {
		return nil, err
	}
	if result.Interest.IsAll() {
		return wire.InterestedUsersAnswer{AllUsers: true}.Append(dst), nil
	}
	answer := wire.InterestedUsersAnswer{Users: behindUser(result.Interest.Users(), r.After)}
	if len(answer.Users) > r.Limit {
		answer.Users, answer.Next = answer.Users[:r.Limit], answer.Users[r.Limit-1]
	}
	return answer.Fit(a.maxAnswer).Append(dst), nil
}
