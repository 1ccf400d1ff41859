package dendrite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// The headers of a message, which has no body.
const (
	userHeader       = "user_id"
	stateHeader      = "presence"
	lastActiveHeader = "last_active_ts" // milliseconds
	statusHeader     = "status_msg"     // absent where it is unchanged, empty where it was cleared
	fromSyncHeader   = "from_sync"      // "true" where a client's /sync is the reason
)

// staysActive is for how long Dendrite takes a user for active.
const staysActive = 5 * time.Minute

// event is what one message says.
type event struct {
	state     presence.UserState
	hasStatus bool
	noTime    *string // what stands in place of last_active_ts, if that is no time
}

// parseEvent reads the headers of a message that was stored at a time. The error says
// why it is about nobody.
func parseEvent(header nats.Header, stored time.Time) (event, error) {
	user, err := presence.ParseUserID(first(header, userHeader))
	if err != nil {
		return event{}, fmt.Errorf("header %s: %w", userHeader, err)
	}
	e := event{state: presence.UserState{UserID: user, State: presence.State(strings.ToLower(first(header, stateHeader)))}}
	text := first(header, lastActiveHeader)
	e.state.LastActive, err = strconv.ParseInt(text, 10, 64)
	if err != nil || e.state.LastActive < 0 {
		e.state.LastActive, e.noTime = 0, &text
	}
	if first(header, fromSyncHeader) == "true" {
		e.state.LastUserSync = e.state.LastActive
	}
	idle := stored.Sub(time.UnixMilli(e.state.LastActive))
	e.state.CurrentlyActive = e.state.State == presence.Online && idle < staysActive
	if values := header[statusHeader]; len(values) > 0 {
		e.state.StatusMsg, e.hasStatus = presence.StatusMsg{Text: values[0], IsSet: values[0] != ""}, true
	}
	return e, nil
}

// first returns the first value of a header, whose name is taken as it is written.
func first(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// update returns the update that the event is, and whether it is one: of another one
// a worker makes a dead letter, which shows what was wrong.
func (e event) update() (update []byte, isValid bool) {
	update = wire.AppendState(nil, e.state)
	if e.noTime == nil {
		return update, e.state.State.Valid()
	}
	const key = `"last_active_ts":`
	text, err := json.Marshal(*e.noTime)
	if err != nil {
		return update, false // never: it is a string
	}
	return bytes.Replace(update, []byte(key+"0"), append([]byte(key), text...), 1), false
}
