package client

import (
	"encoding/json"
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// savedView is a View as JSON.
type savedView struct {
	Recipient presence.UserID `json:"recipient"`
	Position  Position        `json:"position"`
	States    []savedState    `json:"states"` // the longest unchanged first
}

type savedState struct {
	Epoch    int64           `json:"epoch"`
	Sequence uint64          `json:"sequence"`
	State    json.RawMessage `json:"state"`
}

// MarshalJSON returns all that v holds, for RestoreView: {"recipient":"@…",
// "position":"…","states":[{"epoch":…,"sequence":…,"state":{…}}]}.
func (v *View) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(v.saved())
	if err != nil {
		return nil, fmt.Errorf("encode view of %s: %w", v.recipient, err)
	}
	return data, nil
}

func (v *View) saved() savedView {
	v.mu.Lock()
	defer v.mu.Unlock()
	saved := savedView{Recipient: v.recipient, Position: v.position, States: []savedState{}}
	for place := v.offline.Front(); place != nil; place = place.Next() {
		saved.add(*entry(place))
	}
	for place := v.others.Front(); place != nil; place = place.Next() {
		saved.add(*entry(place))
	}
	return saved
}

func (s *savedView) add(l Latest) {
	s.States = append(s.States, savedState{Epoch: l.Epoch, Sequence: l.Sequence, State: l.State.Published().JSON})
}

// RestoreView returns the View that data was made of by MarshalJSON, to go on where
// it stood. The JSON of its states has lost its white space.
func RestoreView(data []byte, maxBytes int) (*View, error) {
	var saved savedView
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, fmt.Errorf("decode view: %w", err)
	}
	if saved.Recipient.IsZero() {
		return nil, fmt.Errorf("decode view: %w: recipient is missing", presence.ErrInvalidUserID)
	}
	v := NewView(saved.Recipient, maxBytes)
	v.position = saved.Position
	for i, s := range saved.States {
		state, err := wire.DecodeUpdate(s.State, s.Sequence, len(s.State))
		if err != nil {
			return nil, fmt.Errorf("decode view: states[%d]: %w", i, err)
		}
		v.put(&Latest{Epoch: s.Epoch, Sequence: s.Sequence, State: state})
	}
	return v, nil
}
