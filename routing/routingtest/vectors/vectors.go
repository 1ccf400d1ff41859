// Package vectors reads answers of Synapse's PresenceRouter to random modules, and
// plays those modules.
package vectors

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Case is one set of modules, the two questions, and what Synapse answers.
type Case struct {
	Name    string
	States  []presence.UserState // to ask about; they came from no update
	User    presence.UserID      // whose interest to ask for
	Modules []Module             // in registration order

	WantUsers    map[presence.UserID][]int // recipients and the indexes of their states
	WantInterest routing.Interest
	WantAsked    []int // indexes of the modules that are asked for the interest
}

// Read returns the cases in the file at path.
func Read(path string) ([]Case, error) {
	data, err := os.ReadFile(path) //nolint:gosec // The path comes from a test.
	if err != nil {
		return nil, fmt.Errorf("read vectors: %w", err)
	}
	var file struct {
		Cases []entry `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("decode vectors: %w", err)
	}
	cases := make([]Case, len(file.Cases))
	for i, e := range file.Cases {
		cases[i] = e.read()
	}
	return cases, nil
}

// entry is a case as the file has it.
type entry struct {
	Name      string                    `json:"name"`
	States    []state                   `json:"states"`
	Modules   []Module                  `json:"modules"`
	Query     presence.UserID           `json:"query"`
	WantUsers map[presence.UserID][]int `json:"want_users_for_states"`
	Interest  interest                  `json:"want_interested_users"`
	WantAsked []int                     `json:"want_interest_asked"`
}

type state struct {
	UserID               presence.UserID `json:"user_id"`
	State                presence.State  `json:"state"`
	LastActive           int64           `json:"last_active_ts"`
	LastFederationUpdate int64           `json:"last_federation_update_ts"`
	LastUserSync         int64           `json:"last_user_sync_ts"`
	StatusMsg            *string         `json:"status_msg"`
	CurrentlyActive      bool            `json:"currently_active"`
}

type interest struct {
	All   bool              `json:"all_users"`
	Users []presence.UserID `json:"users"`
}

// read leaves recipients without states out, as a Dispatcher does.
func (e entry) read() Case {
	c := Case{Name: e.Name, User: e.Query, Modules: e.Modules, WantAsked: e.WantAsked}
	for _, s := range e.States {
		c.States = append(c.States, s.read())
	}
	c.WantUsers = make(map[presence.UserID][]int)
	for recipient, indexes := range e.WantUsers {
		if len(indexes) > 0 {
			c.WantUsers[recipient] = indexes
		}
	}
	c.WantInterest = routing.Users(e.Interest.Users...)
	if e.Interest.All {
		c.WantInterest = routing.All()
	}
	return c
}

func (s state) read() presence.UserState {
	read := presence.UserState{
		UserID:               s.UserID,
		State:                s.State,
		LastActive:           s.LastActive,
		LastFederationUpdate: s.LastFederationUpdate,
		LastUserSync:         s.LastUserSync,
		CurrentlyActive:      s.CurrentlyActive,
	}
	if s.StatusMsg != nil {
		read.StatusMsg = presence.Status(*s.StatusMsg)
	}
	return read
}
