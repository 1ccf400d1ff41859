package wire

import (
	"math"
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// SendOnlinePresenceRequest asks that users be sent the present states of those
// whose presence they may see (Synapse's send_local_online_presence_to).
type SendOnlinePresenceRequest struct {
	Users []presence.UserID // at most MaxQueryUsers
	After presence.UserID   // only those behind this user are sent anything; zero for the first page
}

// Append appends r as JSON to dst.
func (r SendOnlinePresenceRequest) Append(dst []byte) []byte {
	dst = appendUsers(append(dst, `{"users":`...), r.Users)
	return append(appendUserMember(dst, `,"after":`, r.After), '}')
}

// DecodeSendOnlinePresenceRequest returns the request that Append wrote. Every
// error is a *QueryError.
func DecodeSendOnlinePresenceRequest(data []byte) (SendOnlinePresenceRequest, error) {
	return decodeRequest(data, []member[SendOnlinePresenceRequest]{
		{"users", true, func(r *SendOnlinePresenceRequest, value []byte) (err error) {
			r.Users, err = parseQueryUsers(value)
			return err
		}},
		{"after", false, func(r *SendOnlinePresenceRequest, value []byte) (err error) {
			r.After, err = parseUserIDField("after", value)
			return err
		}},
	})
}

// parseQueryUsers returns the users of a request, at most MaxQueryUsers.
func parseQueryUsers(value []byte) ([]presence.UserID, error) {
	users, err := parseUserIDs("users", value, nil)
	if err == nil && len(users) > MaxQueryUsers {
		return nil, tooLarge("users has %d elements, at most %d are allowed", len(users), MaxQueryUsers)
	}
	return users, err
}

// SentStates is how many states one user was sent.
type SentStates struct {
	UserID presence.UserID
	States int
}

// SendOnlinePresenceAnswer says what was sent.
type SendOnlinePresenceAnswer struct {
	Users []SentStates    // sorted, each once
	Next  presence.UserID // After of the next page: the users behind it were sent nothing yet; zero on the last one
}

// Append appends a as JSON to dst.
func (a SendOnlinePresenceAnswer) Append(dst []byte) []byte {
	dst = append(dst, `{"users":{`...)
	for i, user := range a.Users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, user.UserID.String()), `:{"states":`...)
		dst = append(strconv.AppendInt(dst, int64(user.States), 10), '}')
	}
	return append(appendUserMember(append(dst, '}'), `,"next":`, a.Next), '}')
}

// Fit returns as many users of a, from the first on, as Append writes into
// maxBytes, however many states they are sent, at least one, with Next where that
// is not all.
func (a SendOnlinePresenceAnswer) Fit(maxBytes int) SendOnlinePresenceAnswer {
	const (
		envelope = len(`{"users":{},"next":}`)
		perUser  = len(`:{"states":2147483647},`)
	)
	size := envelope + maxUserText
	for i, user := range a.Users {
		if size += textSize(user.UserID.String()) + perUser; size > maxBytes && i > 0 {
			a.Users, a.Next = a.Users[:i], a.Users[i-1].UserID
			break
		}
	}
	return a
}

// DecodeSendOnlinePresenceAnswer returns the answer that Append wrote. Unknown
// fields are passed over.
func DecodeSendOnlinePresenceAnswer(data []byte) (SendOnlinePresenceAnswer, error) {
	return decodeAnswer(data, []member[SendOnlinePresenceAnswer]{
		{"users", true, func(a *SendOnlinePresenceAnswer, value []byte) error {
			return eachUser("users", value, a.addUser)
		}},
		{"next", false, func(a *SendOnlinePresenceAnswer, value []byte) (err error) {
			a.Next, err = parseUserIDField("next", value)
			return err
		}},
	})
}

func (a *SendOnlinePresenceAnswer) addUser(user presence.UserID, value []byte) error {
	sent, err := decodeMembers(value, []member[SentStates]{
		{"states", true, func(s *SentStates, value []byte) (err error) {
			s.States, err = parseCount("states", value, 0, math.MaxInt32)
			return err
		}},
	}, passOver)
	sent.UserID = user
	a.Users = append(a.Users, sent)
	return err
}
