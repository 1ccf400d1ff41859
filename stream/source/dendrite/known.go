package dendrite

import "github.com/presence-router/presence-router/routing/presence"

// mostKnown bounds what is remembered, in bytes and about; half of it is forgotten at a
// time.
const mostKnown = 32 << 20

// entryBytes is about what an entry takes beside its texts.
const entryBytes = 100

// statuses remembers the status of users, those that were seen last.
type statuses struct {
	newer, older map[presence.UserID]presence.StatusMsg
	bytes        int // of newer
}

func newStatuses() *statuses {
	s := new(statuses)
	s.forget()
	return s
}

// forget forgets all.
func (s *statuses) forget() {
	s.newer, s.older, s.bytes = make(map[presence.UserID]presence.StatusMsg), nil, 0
}

func (s *statuses) put(user presence.UserID, status presence.StatusMsg) {
	if s.bytes > mostKnown/2 {
		s.older = s.newer
		s.newer, s.bytes = make(map[presence.UserID]presence.StatusMsg), 0
	}
	s.newer[user] = status
	s.bytes += entryBytes + len(user.String()) + len(status.Text)
}

func (s *statuses) of(user presence.UserID) (presence.StatusMsg, bool) {
	if status, ok := s.newer[user]; ok {
		return status, true
	}
	status, ok := s.older[user]
	return status, ok
}
