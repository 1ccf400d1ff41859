package wire

import (
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// AppendState appends s as JSON to dst: the update it came from, byte for byte,
// where s says what that says, else the seven fields that the router knows. It
// allocates nothing where dst has room.
func AppendState(dst []byte, s presence.UserState) []byte {
	if !s.Altered() {
		return append(dst, s.Published().JSON...)
	}
	dst = appendText(append(dst, `{"user_id":`...), s.UserID.String())
	dst = appendText(append(dst, `,"state":`...), string(s.State))
	dst = strconv.AppendInt(append(dst, `,"last_active_ts":`...), s.LastActive, 10)
	dst = strconv.AppendInt(append(dst, `,"last_federation_update_ts":`...), s.LastFederationUpdate, 10)
	dst = strconv.AppendInt(append(dst, `,"last_user_sync_ts":`...), s.LastUserSync, 10)
	dst = appendStatusMsg(append(dst, `,"status_msg":`...), s.StatusMsg)
	dst = strconv.AppendBool(append(dst, `,"currently_active":`...), s.CurrentlyActive)
	return append(dst, '}')
}

func appendStatusMsg(dst []byte, msg presence.StatusMsg) []byte {
	if !msg.IsSet {
		return append(dst, "null"...)
	}
	return appendText(dst, msg.Text)
}

// stateBound returns a number of bytes that AppendState(nil, s) does not exceed,
// without encoding s.
func stateBound(s *presence.UserState) int {
	const (
		perByte = 6   // \u001f
		fields  = 240 // keys, punctuation, three times, null and false
	)
	if !s.Altered() {
		return len(s.Published().JSON)
	}
	return fields + perByte*(len(s.UserID.String())+len(s.State)+len(s.StatusMsg.Text))
}
