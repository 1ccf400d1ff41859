package wire

import (
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// InterestedUsersRequest asks whose presence a user may see.
type InterestedUsersRequest struct {
	UserID presence.UserID
	Limit  int             // most users in the answer, 1 to MaxLimit; 0 for DefaultLimit
	After  presence.UserID // the answer begins behind this user; zero for the first page
}

// Append appends r as JSON to dst.
func (r InterestedUsersRequest) Append(dst []byte) []byte {
	dst = appendText(append(dst, `{"user_id":`...), r.UserID.String())
	if r.Limit != 0 {
		dst = strconv.AppendInt(append(dst, `,"limit":`...), int64(r.Limit), 10)
	}
	return append(appendUserMember(dst, `,"after":`, r.After), '}')
}

// DecodeInterestedUsersRequest returns the request that Append wrote. Limit is
// DefaultLimit where it has none. Every error is a *QueryError.
func DecodeInterestedUsersRequest(data []byte) (InterestedUsersRequest, error) {
	r, err := decodeRequest(data, []member[InterestedUsersRequest]{
		{"user_id", true, func(r *InterestedUsersRequest, value []byte) (err error) {
			r.UserID, err = parseUserIDField("user_id", value)
			return err
		}},
		{"limit", false, func(r *InterestedUsersRequest, value []byte) (err error) {
			r.Limit, err = parseCount("limit", value, 1, MaxLimit)
			return err
		}},
		{"after", false, func(r *InterestedUsersRequest, value []byte) (err error) {
			r.After, err = parseUserIDField("after", value)
			return err
		}},
	})
	if err == nil && r.Limit == 0 {
		r.Limit = DefaultLimit
	}
	return r, err
}

// InterestedUsersAnswer says whose presence a user may see.
type InterestedUsersAnswer struct {
	AllUsers bool
	Users    []presence.UserID // sorted, each once
	Next     presence.UserID   // After of the next page; zero on the last one
}

// Append appends a as JSON to dst.
func (a InterestedUsersAnswer) Append(dst []byte) []byte {
	if a.AllUsers {
		return append(dst, `{"all_users":true}`...)
	}
	dst = appendUsers(append(dst, `{"all_users":false,"users":`...), a.Users)
	return append(appendUserMember(dst, `,"next":`, a.Next), '}')
}

// Fit returns as many users of a, from the first on, as Append writes into
// maxBytes, at least one, with Next where that is not all.
func (a InterestedUsersAnswer) Fit(maxBytes int) InterestedUsersAnswer {
	const envelope = len(`{"all_users":false,"users":[],"next":}`)
	size := envelope + maxUserText
	for i, user := range a.Users {
		if size += textSize(user.String()) + len(","); size > maxBytes && i > 0 {
			a.Users, a.Next = a.Users[:i], a.Users[i-1]
			break
		}
	}
	return a
}

// DecodeInterestedUsersAnswer returns the answer that Append wrote. Unknown fields
// are passed over.
func DecodeInterestedUsersAnswer(data []byte) (InterestedUsersAnswer, error) {
	return decodeAnswer(data, []member[InterestedUsersAnswer]{
		{"all_users", true, func(a *InterestedUsersAnswer, value []byte) (err error) {
			a.AllUsers, err = parseFlag("all_users", value)
			return err
		}},
		{"users", false, func(a *InterestedUsersAnswer, value []byte) (err error) {
			a.Users, err = parseUserIDs("users", value, a.Users)
			return err
		}},
		{"next", false, func(a *InterestedUsersAnswer, value []byte) (err error) {
			a.Next, err = parseUserIDField("next", value)
			return err
		}},
	})
}

// appendUsers appends an array of user IDs.
func appendUsers(dst []byte, users []presence.UserID) []byte {
	dst = append(dst, '[')
	for i, user := range users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(dst, user.String())
	}
	return append(dst, ']')
}

// appendUserMember appends key and user where user is not zero.
func appendUserMember(dst []byte, key string, user presence.UserID) []byte {
	if user.IsZero() {
		return dst
	}
	return appendText(append(dst, key...), user.String())
}

// maxUserText is a number of bytes that a user ID as a JSON string does not exceed.
const maxUserText = len(`""`) + 6*presence.MaxUserIDBytes
