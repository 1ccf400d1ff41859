package sender

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/presence-router/presence-router/routing/presence"
)

// The bounds of an m.presence EDU, which are those of Synapse.
const (
	maxPush     = 50
	maxEDUBytes = 64 << 10
)

const (
	contentBegin = `{"push":[`
	contentEnd   = `]}`
	// eduBytes is what an EDU has around the entries of push.
	eduBytes = len(`{"content":` + contentBegin + contentEnd + `,"edu_type":"m.presence"}`)
)

// contents returns entries, as many as fit from the first on, as contents of at most
// maxEDUs EDUs, and how many those are.
func contents(entries []*entry, maxEDUs int, now time.Time) (all []json.RawMessage, taken int) {
	var push []byte
	for taken < len(entries) && len(all) < maxEDUs {
		content := []byte(contentBegin)
		first := taken
		for ; taken < len(entries) && taken < first+maxPush; taken++ {
			push = appendPush(push[:0], entries[taken].state, now)
			if len(push)+eduBytes > maxEDUBytes {
				push = appendPush(push[:0], shortened(entries[taken].state), now)
			}
			if taken > first && len(content)+len(push)+len(`,`)+eduBytes-len(contentBegin) > maxEDUBytes {
				break
			}
			if taken > first {
				content = append(content, ',')
			}
			content = append(content, push...)
		}
		all = append(all, append(content, contentEnd...))
	}
	return all, taken
}

// appendPush appends an entry of push, its keys in canonical order. last_active_ago
// is left out where it is not known, currently_active unless the user is online. No
// status message is sent as an empty one, which both Synapse and Dendrite take as
// none; what is left out would leave the old one on a Dendrite.
func appendPush(dst []byte, s presence.UserState, now time.Time) []byte {
	dst = append(dst, '{')
	if s.State == presence.Online {
		dst = append(dst, `"currently_active":`...)
		dst = append(strconv.AppendBool(dst, s.CurrentlyActive), ',')
	}
	if s.LastActive > 0 {
		dst = append(dst, `"last_active_ago":`...)
		dst = append(strconv.AppendInt(dst, max(0, now.UnixMilli()-s.LastActive), 10), ',')
	}
	dst = appendText(append(dst, `"presence":`...), string(s.State))
	dst = appendText(append(dst, `,"status_msg":`...), s.StatusMsg.Text)
	dst = appendText(append(dst, `,"user_id":`...), s.UserID.String())
	return append(dst, '}')
}

// maxStateBytes is the longest state that is sent; namespaced ones have no bound.
const maxStateBytes = 1024

// maxStatusBytes has any status message fit in an EDU, each byte escaped in six,
// beside a user ID and a state of the longest.
const maxStatusBytes = (maxEDUBytes-eduBytes-200)/6 - presence.MaxUserIDBytes - maxStateBytes

// shortened cuts a status message that would fit no EDU, between characters.
func shortened(s presence.UserState) presence.UserState {
	end := min(len(s.StatusMsg.Text), maxStatusBytes)
	for end < len(s.StatusMsg.Text) && !utf8.RuneStart(s.StatusMsg.Text[end]) {
		end--
	}
	s.StatusMsg.Text = s.StatusMsg.Text[:end]
	return s
}

// appendText appends a string of JSON.
func appendText(dst []byte, text string) []byte {
	w := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // A string has no error, nor has a buffer.
	return bytes.TrimSuffix(w.Bytes(), []byte("\n"))
}
